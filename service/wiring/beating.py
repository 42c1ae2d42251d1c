"""The shadow's sign of life, for the process that keeps it."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable

log = logging.getLogger("understudy.shadow")

BEAT_SECONDS = 1.0


def beat(stuck: Callable[[], str | None], descriptor: int) -> None:
    """Writes a byte every second, from a thread, except while something is stuck.

    Args:
        stuck: names what does not move any more.
        descriptor: a pipe of who keeps this process.
    """
    threading.Thread(target=_beat, args=(stuck, descriptor), name="beat", daemon=True).start()


def _beat(stuck: Callable[[], str | None], descriptor: int) -> None:
    told = None
    while True:
        name = stuck()
        if name is None:
            with contextlib.suppress(OSError):  # nobody keeps us any more
                os.write(descriptor, b".")
        elif name != told:
            log.error("%s does not move any more", name)
        told = name
        time.sleep(BEAT_SECONDS)
