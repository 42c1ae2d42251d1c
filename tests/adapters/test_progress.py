"""How far a command is: a bar at a terminal, a line now and then in a log."""

from __future__ import annotations

import io

import pytest

from service.adapters import progress


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now, log = 100.0, io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress.steps(log) as shown:
        for step in range(1, 26):
            now = 100.0 + step
            shown.at(step * 10, step, 100 if step < 20 else 0)
    assert log.getvalue() == "100 rows, 10%\n200 rows\n"


def test_a_short_command_leaves_a_log_alone() -> None:
    log = io.StringIO()
    with progress.steps(log) as shown:
        shown.at(5, 1, 2)
    assert log.getvalue() == ""


def test_a_terminal_gets_a_bar_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    with progress.steps(screen) as shown:
        shown.at(0, 0, 0)
        shown.at(512, 30, 60)
    assert "512 rows" in screen.getvalue()
    assert "50%" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[2K")  # the line is cleared
