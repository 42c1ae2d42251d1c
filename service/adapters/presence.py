"""Who is still there, known by locks on a file or a directory.

The kernel lets go of them however their holder ends, and they count between containers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from pathlib import Path

FILE = os.O_RDWR | os.O_CREAT
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
LOOKS_SECONDS = 0.05
"""Between two looks at whether somebody is there."""


class Presence:
    """This process is there until ``leave`` or its end, beside others that may be there as well.

    Args:
        what: ``FILE``, which is made where it is missing, or ``DIRECTORY``.

    Raises:
        OSError: the file cannot be made, or there is no such directory.
    """

    def __init__(self, path: Path, operation: int = fcntl.LOCK_SH, what: int = FILE) -> None:
        self._descriptor: int | None = os.open(path, what, 0o600)
        try:
            fcntl.flock(self._descriptor, operation)
        except BlockingIOError:
            self.leave()
            raise

    @classmethod
    def alone(cls, path: Path, what: int = FILE) -> Presence | None:
        """There where nobody else is, and keeps others out; None where somebody is there already."""
        try:
            return cls(path, fcntl.LOCK_EX | fcntl.LOCK_NB, what)
        except BlockingIOError:
            return None

    def leave(self) -> None:
        """Is there no more; a second time changes nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def stands_in(self, directory: Path) -> bool:
        """Whether the path still leads to what was opened; somebody may have put another in its place."""
        assert self._descriptor is not None
        try:
            return os.path.samestat(os.fstat(self._descriptor), directory.stat())
        except FileNotFoundError:
            return False


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


def await_alone(path: Path, seconds: float) -> Presence | None:
    """Takes the place of whoever is alone there, once it has left; None where it stays for ``seconds``."""
    due = time.monotonic() + seconds
    while (found := Presence.alone(path)) is None and (left := due - time.monotonic()) > 0:
        time.sleep(min(LOOKS_SECONDS, left))
    return found


def enter(directory: Path) -> Presence:
    """Makes a directory for its owner alone; ``remove_deserted`` leaves it while somebody is in it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with contextlib.suppress(
            FileExistsError
        ):  # its own ``exist_ok`` fails where it is removed in between
            directory.mkdir(mode=0o700)
        try:
            found = Presence(directory, what=DIRECTORY)
        except FileNotFoundError:  # removed in between
            continue
        if found.stands_in(directory):
            return found
        found.leave()


def remove_deserted(parent: Path, keep: Path) -> list[Path]:
    """Removes every directory of ``parent`` that nobody has entered, but ``keep``; gives those removed."""
    gone = []
    for each in sorted(parent.iterdir()):
        if each == keep or not each.is_dir():
            continue
        try:
            found = Presence.alone(each, DIRECTORY)
        except OSError:  # removed by a sibling, or another user's
            continue
        if found is not None:
            shutil.rmtree(each, ignore_errors=True)
            found.leave()
            gone.append(each)
    return gone


def _free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
