"""What a process leaves for its siblings, and how it steps back."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.adapters.process import read_status, settle_memory, write_status

ROOT = Path(__file__).parents[2]

# In a process of its own: it would demote the tests.
YIELDING = """
import os, threading
from pathlib import Path
from service.adapters.priority import yield_the_cpu
stop = threading.Event()
threading.Thread(target=stop.wait, daemon=True).start()
assert yield_the_cpu()
threading.Thread(target=stop.wait, daemon=True).start()
policies = {os.sched_getscheduler(int(task.name)) for task in Path("/proc/self/task").iterdir()}
assert len(list(Path("/proc/self/task").iterdir())) >= 3
assert policies == {os.SCHED_IDLE}, policies
autogroup = Path("/proc/self/autogroup")  # empty where the kernel has put this session in no group
group = autogroup.read_text() if autogroup.exists() else ""
assert not group or group.split()[-1] == "19", group
"""


@pytest.fixture
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_a_status_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "shadow.json"
    write_status(path, {"m:new": {"state": "ready", "reason": None}})
    assert read_status(path) == {"m:new": {"state": "ready", "reason": None}}
    assert [entry.name for entry in tmp_path.iterdir()] == ["shadow.json"]


@pytest.mark.parametrize("content", [None, b"", b'{"half":'])
def test_a_status_that_is_absent_or_broken_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "shadow.json"
    if content is not None:
        path.write_bytes(content)
    assert read_status(path) is None


def test_a_reader_never_sees_half_a_status(tmp_path: Path) -> None:
    path = tmp_path / "shadow.json"
    long, short = {"text": "x" * 200_000}, {"text": ""}
    write_status(path, short)
    done = threading.Event()

    def write() -> None:
        for _ in range(100):
            write_status(path, long)
            write_status(path, short)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert read_status(path) in (long, short)
    writer.join()


@pytest.mark.usefixtures("thawed")
def test_what_is_loaded_is_left_out_of_later_collections() -> None:
    before = gc.get_freeze_count()
    settle_memory()
    assert gc.get_freeze_count() > before


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="SCHED_IDLE is Linux")
def test_every_thread_now_and_later_gets_only_idle_cpu() -> None:
    done = subprocess.run(
        [sys.executable, "-c", YIELDING], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_is_left_behind_is_for_the_service_alone(tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    write_status(path, {"cases": []})
    assert path.stat().st_mode & 0o777 == 0o600
