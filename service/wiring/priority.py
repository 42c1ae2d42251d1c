"""The shadow's rank, apart from its wiring so that it is set before anything heavy is imported."""

from __future__ import annotations

from service.adapters.priority import yield_the_cpu

__all__ = ["yield_the_cpu"]
