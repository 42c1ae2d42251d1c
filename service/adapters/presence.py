"""Who is still there, known by locks on a file: the kernel lets go of them however their holder ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

LOOKS_SECONDS = 0.05
"""Between two looks at whether somebody is there."""


class Presence:
    """This process is there until ``leave`` or its end, also for processes of other containers.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def leave(self) -> None:
        """Is there no more; a second time changes nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def await_absence(path: Path, seconds: float) -> bool:
    """Whether nobody was there within ``seconds``; waits no longer than that.

    Where the file that ``Presence`` was given is missing, nobody is there.
    """
    due = time.monotonic() + seconds
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        while not _free(descriptor):
            if (left := due - time.monotonic()) <= 0:
                return False
            time.sleep(min(LOOKS_SECONDS, left))
        return True
    finally:
        os.close(descriptor)


def _free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
