"""The processes that this one keeps running."""

from __future__ import annotations

import sys

from service.adapters.children import KeptChild
from service.adapters.logs import log_to_stderr
from service.sections import LogSettings


def shadow_child(settings: LogSettings) -> KeptChild:
    """The shadow, not yet started."""
    log_to_stderr(settings)
    return KeptChild("the shadow", [sys.executable, "-m", "service.shadow", "--with-parent"])
