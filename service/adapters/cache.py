"""Replies that are asked for again."""

from __future__ import annotations

import threading
from collections import OrderedDict

from service.domain.errand import Reply

OVERHEAD = 200
"""Bytes of an entry beside its key and its documents, about."""


class ReplyCache:
    """The newest replies within ``room`` bytes; safe to use from several threads."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: OrderedDict[bytes, Reply] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: bytes) -> Reply | None:
        """The reply kept under ``key``, or None."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: bytes, reply: Reply) -> None:
        """Keeps a reply, and lets those go that were not asked for in the longest time."""
        with self._lock:
            if key in self._kept or _size(key, reply) > self._room:
                return
            self._kept[key] = reply
            self._bytes += _size(key, reply)
            while self._bytes > self._room:
                self._bytes -= _size(*self._kept.popitem(last=False))


def _size(key: bytes, reply: Reply) -> int:
    return len(key) + sum(map(len, reply.documents)) + OVERHEAD
