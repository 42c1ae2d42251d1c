"""Pure functions and frozen records over numpy; imports no framework and no adapter."""
