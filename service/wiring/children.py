"""The processes that this one keeps running."""

from __future__ import annotations

import sys

from service.adapters.children import KeptChild
from service.adapters.process import log_to_stderr


def shadow_child() -> KeptChild:
    """The shadow, not yet started."""
    log_to_stderr()
    return KeptChild("the shadow", [sys.executable, "-m", "service.shadow", "--with-parent"])
