"""How far two models' answers to the same rows differ: one measure per file."""
