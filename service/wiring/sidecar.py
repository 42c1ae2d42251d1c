"""What the shadow's own container runs; apart, since it must not import what the shadow needs."""

from __future__ import annotations

import sys

from service.adapters.cgroups import memory_limit
from service.adapters.sidecar import BEAT_DESCRIPTOR, CONFIGURATION, OCCUPIED, Care, Sidecar, ceiling_below

__all__ = ["CONFIGURATION", "OCCUPIED", "keep_shadow"]


def keep_shadow(silence: float, memory: int | None = None) -> int:
    """Keeps the shadow until SIGTERM; its exit status.

    Args:
        silence: seconds without a sign of life after which the shadow is killed.
        memory: bytes of the container; by default what its control group says.
    """
    try:
        ceiling = ceiling_below(memory_limit() if memory is None else memory)
    except ValueError as error:
        sys.exit(f"understudy: {error}")
    command = (sys.executable, "-m", "service.shadow", "--with-parent", "--beat", str(BEAT_DESCRIPTOR))
    return Sidecar(command, Care(silence=silence, ceiling=ceiling)).run()
