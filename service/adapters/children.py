"""A child process that is started again whenever it ends."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

log = logging.getLogger("understudy.children")

REAP_SECONDS = 2.0
"""A killed child of lowest priority may have to wait for the CPU that it needs to end."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long to wait before another start, in seconds."""

    first: float = 0.5
    longest: float = 8.0
    settled: float = 30.0
    """A child that lived this long is healthy: the next pause is the first again."""

    def after(self, previous: float, lived: float) -> float:
        """Doubled for each child that died young."""
        return self.first if lived >= self.settled or not previous else min(2 * previous, self.longest)


class KeptChild:
    """Runs ``command`` until ``stop``; the child inherits the priority and dies with this process.

    The child's standard input is a pipe that this process alone holds open, so that its end tells the child
    that this process is gone, however it went: see ``end_with_parent``.
    """

    def __init__(self, name: str, command: Sequence[str], pauses: Pauses | None = None) -> None:
        self._name = name
        self._command = tuple(command)
        self._pauses = pauses or Pauses()
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="keep-child", daemon=True)

    def start(self) -> None:
        """Starts the child, and a thread that waits for its end."""
        self._child = self._spawn()
        self._thread.start()

    def let_end(self) -> None:
        """From now on a child that ends is not started again."""
        self._stopping.set()

    def stop(self, patience: float = 8.0) -> None:
        """Asks the child to end, and kills it after ``patience`` seconds."""
        self.let_end()
        child = self._child
        if child is not None:
            child.terminate()
            try:
                child.wait(patience)
            except subprocess.TimeoutExpired:
                child.kill()
        self._thread.join(REAP_SECONDS)

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.PIPE)  # noqa: S603 - a command of our own

    def _keep(self) -> None:
        pause = 0.0
        while (child := self._child) is not None:
            started = time.monotonic()
            with child:  # closes the pipe as well
                status = child.wait()
            if self._stopping.is_set():
                return
            pause = self._pauses.after(pause, time.monotonic() - started)
            log.error("%s ended with status %d; again in %.1f s", self._name, status, pause)
            if self._stopping.wait(pause):
                return
            try:
                self._child = self._spawn()
            except OSError as error:  # no memory or no process to be had just now: the last child has ended
                log.error("%s cannot be started: %s", self._name, error)
                continue
            if self._stopping.is_set():  # stopped meanwhile: nobody else will end this one
                self._child.terminate()


def end_with_parent() -> None:
    """Ends this process at once when its standard input does, from a thread: the parent has died.

    At once, because another parent may already have started another child in this one's place.
    """

    def watch() -> None:
        while os.read(0, 4096):  # not sys.stdin, whose lock Python wants when it ends
            pass
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
