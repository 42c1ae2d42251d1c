"""The rank of processes beside the edge, apart so that it is set before anything heavy is imported."""

from __future__ import annotations

from service.adapters.background import make_way
from service.adapters.priority import yield_the_cpu

__all__ = ["make_way", "yield_the_cpu"]
