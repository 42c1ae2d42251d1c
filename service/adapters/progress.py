"""How far a long command is: a bar where somebody looks at the terminal, lines where a log is kept."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

LINE_SECONDS = 10.0
"""Between two lines."""


class Steps(Protocol):
    """Is told of every step."""

    def at(self, rows: int, done: int, total: int) -> None:
        """``rows`` rows are worked off so far, which is ``done`` of ``total`` in the source's own unit; a
        ``total`` of 0 is not known.
        """


class _Bar:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("replay", total=None, rows=0)

    def at(self, rows: int, done: int, total: int) -> None:
        self._bar.update(self._task, total=total or None, completed=done, rows=rows)


class _Lines:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._due = time.monotonic() + LINE_SECONDS

    def at(self, rows: int, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + LINE_SECONDS
            share = f", {done / total:.0%}" if total else ""
            self._stream.write(f"{rows} rows{share}\n")
            self._stream.flush()


@contextmanager
def steps(stream: TextIO | None = None) -> Iterator[Steps]:
    """Shows progress on ``stream``, standard error by default, until the block ends."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield _Lines(stream)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]} rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=stream), transient=True) as bar:
        yield _Bar(bar)
