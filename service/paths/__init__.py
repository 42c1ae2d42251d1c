"""One file per journey; each is readable on its own and receives its adapters as protocols."""
