"""Why a model answered what it answered: one method per file, each a ``game.Method``."""
