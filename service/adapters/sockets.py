"""The Unix datagram socket that joins the edge to the shadow."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

SEND_BUFFER_BYTES = 4 << 20
"""Asked for; the kernel grants at most ``net.core.wmem_max``."""
LONGEST_PATH = 100
"""sun_path holds 108 bytes; longer paths are reached through an open directory."""


def sender(path: Path) -> socket.socket:
    """A non-blocking socket connected to the shadow at ``path``.

    Raises:
        OSError: no shadow listens there.
    """
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        opened.setblocking(False)
        with _short(path) as address:
            opened.connect(address)
    except OSError:
        opened.close()
        raise
    return opened


def receiver(path: Path) -> socket.socket:
    """A blocking socket bound at ``path``, in the place of whatever was bound there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    try:
        with _short(fresh) as address:
            opened.bind(address)
        fresh.chmod(0o600)
        fresh.replace(path)  # senders see the old socket or the new one, never none
    except OSError:
        opened.close()
        raise
    return opened


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
