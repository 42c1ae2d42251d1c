"""The only place where adapters meet paths and HTTP: one builder for each process."""
