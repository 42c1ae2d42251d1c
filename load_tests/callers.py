"""Callers that keep their connection for as long as the server lets them, as HTTP clients do."""

from __future__ import annotations

import http.client
import threading
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

JSON = {"Content-Type": "application/json"}


@dataclass(slots=True)
class Callers:
    """Threads that post one body over and over, each on a connection of its own; nothing is tried again."""

    address: tuple[str, int]
    path: str
    body: bytes
    ended: Counter[str] = field(default_factory=Counter)
    """Statuses and, by their class, errors: how many requests ended so."""
    connections: int = 0
    """Opened so far; one more each time an answer says ``Connection: close``."""
    latencies: array[float] = field(default_factory=lambda: array("d"))
    """Seconds per answer."""
    _stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stop(self) -> None:
        """No request begins after this; those that have are waited for at the end of the block."""
        self._stopping.set()

    def run(self, pause: float) -> None:
        """One caller."""
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        while not self._stopping.is_set():
            opens = connection.sock is None
            began = time.perf_counter()
            try:
                connection.request("POST", self.path, self.body, JSON)
                answer = connection.getresponse()
                answer.read()
                outcome = str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                outcome = type(error).__name__
                connection.close()
            with self._lock:
                self.ended[outcome] += 1
                self.connections += opens
                self.latencies.append(time.perf_counter() - began)
            time.sleep(pause)
        connection.close()


@contextmanager
def calling(
    address: tuple[str, int], path: str, body: bytes, callers: int, pause: float = 0.002
) -> Iterator[Callers]:
    """``callers`` at work until the block ends, each with ``pause`` seconds between two requests."""
    found = Callers(address, path, body)
    threads = [threading.Thread(target=found.run, args=(pause,)) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        found.stop()
        for thread in threads:
            thread.join()
