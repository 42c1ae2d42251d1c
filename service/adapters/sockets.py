"""The Unix sockets that join the edge to the shadow and to the Explainer."""

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
        with short(path) as address:
            opened.connect(address)
    except OSError:
        opened.close()
        raise
    return opened


def receiver(path: Path) -> socket.socket:
    """A blocking datagram socket bound at ``path``, in the place of whatever was bound there before."""
    return _bound(path, socket.SOCK_DGRAM)


def listener(path: Path) -> socket.socket:
    """A stream socket listening at ``path``, in the place of whatever did so before."""
    return _bound(path, socket.SOCK_STREAM)


@contextlib.contextmanager
def short(path: Path) -> Iterator[str]:
    """An address of ``path`` that fits into a socket's, for as long as the block lasts."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _bound(path: Path, kind: socket.SocketKind) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = socket.socket(socket.AF_UNIX, kind)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    try:
        with short(fresh) as address:
            opened.bind(address)
        fresh.chmod(0o600)
        if kind == socket.SOCK_STREAM:
            opened.listen()
        fresh.replace(path)  # senders see the old socket or the new one, never none
    except OSError:
        opened.close()
        raise
    return opened
