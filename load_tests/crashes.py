"""Kills a server's shadow over and over, as a candidate would that crashes its process."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path

import psutil

AGES = (2.0, 6.0)
"""Seconds after which a restarted shadow is killed, in turn: while it starts, and at work."""


class CrashLoop:
    """Each call looks for the shadow among the descendants of ``supervisor`` and kills it when it is due.

    The first is due at once. A call costs some 100 µs, because it runs inside the load generator's loop.
    """

    def __init__(self, supervisor: int, module: str = "service.shadow") -> None:
        self.crashes = 0
        self.lost_cpu = 0.0
        """CPU seconds of the processes killed so far, which the living no longer show."""
        self._supervisor = supervisor
        self._marker = f"-m\0{module}\0".encode()
        self._seen: dict[int, tuple[float, bool]] = {}
        self._ages = itertools.cycle(AGES)
        self._age = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        present = [pid for child in _children(self._supervisor) for pid in (child, *_children(child))]
        for pid in present:
            if pid not in self._seen or not self._seen[pid][1]:
                first = self._seen[pid][0] if pid in self._seen else now
                self._seen[pid] = (first, self._is_shadow(pid))
            first, is_shadow = self._seen[pid]
            if is_shadow and now - first >= self._age:
                self._kill(pid)
        self._seen = {pid: self._seen[pid] for pid in present if pid in self._seen}

    def _kill(self, pid: int) -> None:
        try:
            used = _cpu_seconds(pid)
            os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            return
        self.lost_cpu += used
        del self._seen[pid]
        self.crashes += 1
        self._age = next(self._ages)

    def _is_shadow(self, pid: int) -> bool:
        try:
            return self._marker in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False


def _cpu_seconds(pid: int) -> float:
    """User and system time; raises OSError for a process that is gone."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    """From the kernel's own lists where it has them: looking at every process would take milliseconds."""
    try:
        lists = list(Path(f"/proc/{pid}/task").glob("*/children"))  # one for each thread that forked
        if lists:
            return [int(word) for path in lists for word in path.read_text(encoding="ascii").split()]
        return [child.pid for child in psutil.Process(pid).children()]
    except (OSError, psutil.NoSuchProcess):  # it is gone, or one of its threads
        return []
