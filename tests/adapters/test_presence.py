"""Whoever holds a lock is there, and is gone however it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from service.adapters.presence import Presence, await_absence

HOLD = """
import sys
from pathlib import Path
from service.adapters.presence import Presence
presence = Presence(Path(sys.argv[1]))
print("there", flush=True)
sys.stdin.read()
"""


def test_nobody_is_there_where_there_is_no_file(tmp_path: Path) -> None:
    assert await_absence(tmp_path / "none", 0.0)


def test_several_can_be_there_and_the_last_one_counts(tmp_path: Path) -> None:
    first, second = Presence(tmp_path / "lock"), Presence(tmp_path / "lock")
    assert not await_absence(tmp_path / "lock", 0.0)
    first.leave()
    assert not await_absence(tmp_path / "lock", 0.1)
    second.leave()
    second.leave()
    assert await_absence(tmp_path / "lock", 0.0)


def test_a_process_that_is_killed_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"there\n"
        assert not await_absence(path, 0.0)
        holder.kill()
        assert await_absence(path, 10.0)
