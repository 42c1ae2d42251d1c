"""How sure an answer is: one measure per file, behind the protocol in ``measure``."""
