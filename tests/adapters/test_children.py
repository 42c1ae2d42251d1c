"""A child is started again when it dies, waits longer when it dies young, and never outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from service.adapters.children import KeptChild, Pauses

ROOT = Path(__file__).parents[2]
QUICK = Pauses(first=0.01, longest=0.05, settled=60.0)
MARKS = "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); "
FOLLOWS = MARKS + "from service.adapters.children import end_with_parent; end_with_parent(); time.sleep(60)"
PARENT = """
import sys, time
from service.adapters.children import KeptChild
KeptChild("it", [sys.executable, "-c", sys.argv[1], sys.argv[2]]).start()
time.sleep(60)
"""


def born(path: Path, number: int) -> list[int]:
    """The ids of the children so far, once there are ``number``."""

    def read() -> list[int]:
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    await_true(lambda: len(read()) >= number)
    return read()


def await_true(look: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def test_pauses_double_for_a_child_that_dies_young_and_start_anew_after_a_healthy_life() -> None:
    pauses, pause, seen = Pauses(first=0.5, longest=8.0, settled=30.0), 0.0, []
    for lived in (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 30.0, 1.0):
        pause = pauses.after(pause, lived)
        seen.append(pause)
    assert seen == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 0.5, 1.0]


@pytest.mark.process
def test_a_child_that_dies_is_started_again_until_it_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "born"
    child = KeptChild("it", [sys.executable, "-c", MARKS + "time.sleep(60)", str(path)], QUICK)
    child.start()
    try:
        for number in (1, 2):
            os.kill(born(path, number)[-1], signal.SIGKILL)
        last = born(path, 3)[-1]
    finally:
        child.stop()
    assert not psutil.pid_exists(last)
    assert len(born(path, 3)) == 3


@pytest.mark.process
def test_a_child_that_is_let_end_is_not_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "born"
    child = KeptChild("it", [sys.executable, "-c", MARKS + "time.sleep(60)", str(path)], QUICK)
    child.start()
    (pid,) = born(path, 1)
    child.let_end()
    os.kill(pid, signal.SIGTERM)
    await_true(lambda: not psutil.pid_exists(pid))
    time.sleep(5 * QUICK.longest)
    assert born(path, 1) == [pid]
    assert not caplog.records, "an end that was asked for is no error"
    child.stop()


@pytest.mark.process
def test_a_child_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "born"
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + MARKS + "time.sleep(60)"
    child = KeptChild("it", [sys.executable, "-c", stubborn, str(path)], QUICK)
    child.start()
    (pid,) = born(path, 1)
    child.stop(patience=0.1)
    await_true(lambda: not psutil.pid_exists(pid))


@pytest.mark.process
def test_a_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "born"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, FOLLOWS, str(path)], cwd=ROOT)
    try:
        (pid,) = born(path, 1)
    finally:
        parent.kill()
        parent.wait()
    await_true(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


@pytest.mark.process
def test_a_child_that_follows_its_parent_can_end_by_itself(tmp_path: Path) -> None:
    ends = FOLLOWS.replace("time.sleep(60)", "time.sleep(0.05)")
    with subprocess.Popen(
        [sys.executable, "-c", ends, str(tmp_path / "born")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stderr is not None
        said, status = child.stderr.read(), child.wait(20)  # its standard input is open all the time
    assert (status, said) == (0, b"")


def test_a_child_that_cannot_be_started_just_now_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def spawn(child: KeptChild) -> subprocess.Popen[bytes]:
        started.append(len(started))
        if len(started) == 2:
            raise OSError("no memory")
        wait = "60" if len(started) > 2 else "0"
        return subprocess.Popen(["sleep", wait], stdin=subprocess.PIPE)

    monkeypatch.setattr(KeptChild, "_spawn", spawn)
    child = KeptChild("it", ["sleep"], QUICK)
    child.start()
    try:
        await_true(lambda: len(started) == 3)
    finally:
        child.stop()
