"""Counts that outlive whoever counts."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from service.adapters.lasting import lasting_counts

ROOT = Path(__file__).parents[2]

# Says how often it has counted, one a line, for as long as it lives.
COUNTER = """
import sys
from pathlib import Path
from service.adapters.lasting import lasting_counts
counts = lasting_counts(Path(sys.argv[1]), 3)
while True:
    counts += 1
    print(int(counts[0]), flush=True)
"""


def test_counts_begin_at_nought_and_go_on_in_the_next_life(tmp_path: Path) -> None:
    counts = lasting_counts(tmp_path / "counts.bin", 3)
    assert counts.tolist() == [0, 0, 0]
    counts[1] += 5
    del counts
    assert lasting_counts(tmp_path / "counts.bin", 3).tolist() == [0, 5, 0]


def test_a_kill_takes_back_nothing_that_was_counted(tmp_path: Path) -> None:
    path = tmp_path / "counts.bin"
    told = 0
    for _ in range(2):
        command = [sys.executable, "-c", COUNTER, str(path)]
        with subprocess.Popen(
            command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
        ) as counter:
            assert counter.stdout is not None
            for line in counter.stdout:
                if int(line) >= told + 1_000:
                    break
            counter.kill()
            told = max([told + 1_000, *(int(line) for line in counter.stdout if line.endswith("\n"))])
            assert counter.wait(30) == -signal.SIGKILL
        found = lasting_counts(path, 3)
        assert {int(each) - told for each in found} <= {0, 1}
        told = int(found[0])


def test_nobody_else_may_read_them(tmp_path: Path) -> None:
    path = tmp_path / "counts.bin"
    lasting_counts(path, 3)
    assert path.stat().st_mode & 0o777 == 0o600
