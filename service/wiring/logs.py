"""How processes log; apart, so that importing it costs next to nothing."""

from __future__ import annotations

from service.adapters.logs import log_to_stderr

__all__ = ["log_to_stderr"]
