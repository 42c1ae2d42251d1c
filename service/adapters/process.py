"""What a process says to the operating system, and leaves behind for its siblings."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from pathlib import Path
from typing import Any

import orjson

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_LARGEST_BLOCK = 32 << 20  # the most that glibc takes as a threshold
_KEPT_BYTES = 256 << 20


def settle_memory() -> None:
    """Collects garbage and keeps what survived out of every later collection."""
    gc.collect()
    gc.freeze()


def keep_memory() -> None:
    """Lets glibc keep large blocks that are freed, for the next one.

    Given back and asked for anew they cost page faults, which other processes on the same core wait for: the
    kernel need not be preempted in them. Other C libraries take no notice.
    """
    with contextlib.suppress(AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def write_status(path: Path, status: Any) -> None:
    """Replaces a JSON file, see ``replace_file``."""
    replace_file(path, orjson.dumps(status))


def replace_file(path: Path, content: bytes) -> None:
    """Replaces a file at once, so that no reader sees half of it; it is for the service alone."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.touch(0o600)  # rows may be in it
    fresh.write_bytes(content)
    fresh.replace(path)


def read_status(path: Path) -> Any:
    """The JSON file, or None where there is none yet."""
    try:
        return orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
