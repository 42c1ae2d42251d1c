"""Work beside the service: one command at a time, with a deadline, in a process that makes way for others."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from service.adapters.children import end_with_parent
from service.adapters.priority import yield_the_cpu
from service.errors import BusyError, LateError

REAP_SECONDS = 2.0
"""A killed child of lowest priority may have to wait for the CPU that it needs to end."""


class Finished(NamedTuple):
    """What a command left behind."""

    status: int
    """Its exit code; negative where a signal ended it."""
    output: bytes
    said: bytes
    """On standard error."""


def make_way() -> None:
    """Lowers this process below all others, and ends it with its parent; see ``run_beside``."""
    yield_the_cpu()
    with contextlib.suppress(OSError):  # where memory runs out this process is the first to go
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    end_with_parent()


def run_beside(command: Sequence[str], data: bytes | None, lock: Path, seconds: float) -> Finished:
    """Runs a command that calls ``make_way``, and waits for its end.

    Its standard input is a pipe that ends with this process. The lock is the child's as well, so that it is
    free only when nothing of it runs any more, whatever became of this process.

    Args:
        command: each ``{data}`` in it becomes the path at which the child finds ``data``.
        data: kept in memory alone; None where the command needs none.
        lock: a file; one command at a time of all processes that name the same.
        seconds: after which it is killed.

    Raises:
        BusyError: another one runs.
        LateError: it was killed.
    """
    with contextlib.ExitStack() as held:
        locked = held.enter_context(_locked(lock))
        passed = [locked]
        if data is not None:
            path = held.enter_context(_in_memory(data))
            passed.append(path)
            command = [word.replace("{data}", f"/proc/self/fd/{path}") for word in command]
        heard, kept_open = os.pipe()
        held.callback(os.close, kept_open)
        try:
            child = subprocess.Popen(  # noqa: S603 - a command of our own
                command, stdin=heard, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=passed
            )
        finally:
            os.close(heard)
        with child.stdout or contextlib.nullcontext(), child.stderr or contextlib.nullcontext():
            try:
                output, said = child.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(REAP_SECONDS)
                raise LateError(f"it was not done within {seconds:g} s, and was stopped") from None
        return Finished(child.returncode, output, said)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError("another one is running") from error
        yield opened
    finally:
        os.close(opened)


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    opened = os.memfd_create("data")
    try:
        with open(opened, "wb", closefd=False) as file:
            file.write(data)
        yield opened
    finally:
        os.close(opened)
