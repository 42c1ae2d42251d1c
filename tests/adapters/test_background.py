"""One command beside the service: alone, in time, out of the way, and gone with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from service.adapters.background import Finished, run_beside
from service.errors import BusyError, LateError

ROOT = Path(__file__).parents[2]
WAY = "from service.adapters.background import make_way; make_way(); "
LINGERS = WAY + "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
PARENT = """
import sys
from pathlib import Path
from service.adapters.background import run_beside
run_beside([sys.executable, "-c", sys.argv[1], sys.argv[2]], None, Path(sys.argv[3]), 60.0)
"""

pytestmark = pytest.mark.process


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def await_true(look: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@contextmanager
def running(lock: Path, mark: Path) -> Iterator[tuple[int, list[Exception]]]:
    """A command that lingers, its id, and what its end raised in the thread that waits for it."""
    raised: list[Exception] = []

    def wait() -> None:
        try:
            run_beside(python(LINGERS, mark), None, lock, 60.0)
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    await_true(lambda: mark.exists() and mark.read_text())
    pid = int(mark.read_text())
    try:
        yield pid, raised
    finally:
        os.kill(pid, signal.SIGKILL)
        thread.join(30)


def test_a_command_gets_its_data_and_gives_its_output_and_its_status(tmp_path: Path) -> None:
    code = WAY + "import sys; print(len(open(sys.argv[1]).read())); print('so', file=sys.stderr); sys.exit(3)"
    data = b"x" * 1_000_000  # more than a pipe holds
    found = run_beside(python(code, "{data}"), data, tmp_path / "lock", 60.0)
    assert found == Finished(3, b"1000000\n", b"so\n")


def test_what_it_writes_may_be_more_than_a_pipe_holds(tmp_path: Path) -> None:
    code = WAY + "import sys; sys.stderr.write('e' * 300000); sys.stdout.write('o' * 300000)"
    found = run_beside(python(code), None, tmp_path / "lock", 60.0)
    assert (len(found.output), len(found.said), found.status) == (300_000, 300_000, 0)


def test_it_makes_way_for_everybody_else(tmp_path: Path) -> None:
    code = WAY + (
        "import os; print(os.sched_getscheduler(0) == os.SCHED_IDLE, open('/proc/self/oom_score_adj').read())"
    )
    found = run_beside(python(code), None, tmp_path / "lock", 60.0)
    assert found.output.split() == [b"True", b"1000"]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_there_is_one_at_a_time_and_the_next_may_come_when_it_is_gone(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with running(lock, tmp_path / "mark"), pytest.raises(BusyError):
        run_beside(python("pass"), None, lock, 60.0)
    assert run_beside(python("pass"), None, lock, 60.0).status == 0


def test_one_that_is_late_is_killed(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    ignores = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + LINGERS
    with pytest.raises(LateError, match=r"within 2 s"):
        run_beside(python(ignores, mark), None, tmp_path / "lock", 2.0)
    if mark.exists() and mark.read_text():
        await_true(lambda: gone(int(mark.read_text())))
    await_true(lambda: _is_free(tmp_path / "lock"))


def test_one_that_is_killed_is_told_by_its_status(tmp_path: Path) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert run_beside(python(code), None, tmp_path / "lock", 60.0).status == -signal.SIGKILL


def test_a_command_that_cannot_be_started_leaves_the_lock_free(tmp_path: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(FileNotFoundError):
        run_beside([str(tmp_path / "nothing")], b"data", tmp_path / "lock", 60.0)
    assert set(Path("/proc/self/fd").iterdir()) == before
    assert _is_free(tmp_path / "lock")


def test_it_dies_with_its_parent_and_holds_the_lock_as_long_as_it_lives(tmp_path: Path) -> None:
    mark, lock = tmp_path / "mark", tmp_path / "lock"
    parent = subprocess.Popen(python(PARENT, LINGERS, mark, lock), cwd=ROOT)
    try:
        await_true(lambda: mark.exists() and mark.read_text())
        assert not _is_free(lock)
    finally:
        parent.kill()
        parent.wait()
    await_true(lambda: gone(int(mark.read_text())))
    await_true(lambda: _is_free(lock))


def _is_free(lock: Path) -> bool:
    try:
        return run_beside(python("pass"), None, lock, 60.0).status == 0
    except BusyError:
        return False
