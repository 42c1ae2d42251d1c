"""A container's limits are those of its manifest, hold for all it starts, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from load_tests import containers
from load_tests.containers import Container, Limits, pod

MIB = 1 << 20
SMALL = Limits(cpu_request=0.05, cpu_limit=0.5, memory=64 * MIB, processes=32)
pytestmark = pytest.mark.process


def start(container: Container, code: str) -> subprocess.Popen[str]:
    command = container.wrap([sys.executable, "-c", code])
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(holds: Callable[[], bool], promise: str) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end, promise
        time.sleep(0.02)


def grouped(container: Container) -> Container:
    if not container.groups:
        pytest.skip("no cgroup can be made here: that takes root and a hierarchy that may be written")
    return container


@pytest.mark.parametrize(
    ("cores", "shares", "weight"),
    [(0.0, 2, 1), (0.05, 51, 2), (0.5, 512, 20), (1.0, 1024, 39), (256.0, 262_144, 10_000)],
)
def test_a_request_becomes_the_weight_that_a_kubelet_writes(cores: float, shares: int, weight: int) -> None:
    assert (Limits(cores).shares, Limits(cores).weight) == (shares, weight)


def test_a_limit_becomes_a_quota_of_each_tenth_of_a_second() -> None:
    assert Limits().quota is None
    assert Limits(cpu_limit=0.5).quota == 50_000
    assert Limits(cpu_limit=0.001).quota == 1_000


def test_a_command_keeps_its_process_id_and_its_children_share_the_limits() -> None:
    with pod({"edge": Limits(1.0), "shadow": SMALL}) as made:
        shadow = grouped(made["shadow"])
        child = "import time; print(1, flush=True); time.sleep(60)"
        code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
        with start(shadow, code) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "1\n"
            assert process.pid in shadow.members()
            assert len(shadow.members()) == 2
            assert made["edge"].members() == []
            assert (shadow.cpu_seconds() or 0.0) > 0
            for pid in shadow.members():
                subprocess.run(["kill", str(pid)], check=True)


def test_nothing_is_left_in_a_container_nor_of_it() -> None:
    with pod({"shadow": SMALL}) as made:
        shadow = grouped(made["shadow"])
        process = start(shadow, "import time; print(1, flush=True); time.sleep(60)")
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
    process.communicate()
    assert process.returncode == -9
    assert not any(folder.exists() or folder.parent.exists() for folder in shadow.groups.values())


def test_what_takes_more_memory_than_its_limit_is_killed_by_the_kernel_and_counted() -> None:
    with pod({"shadow": SMALL}) as made:
        shadow = grouped(made["shadow"])
        with start(shadow, f"b = bytearray({32 * MIB}); print(1)") as modest:
            assert modest.wait() == 0
        assert shadow.killed() == 0
        with start(shadow, f"b = bytes([1]) * {256 * MIB}") as greedy:
            assert greedy.wait() == -9
        assert shadow.killed() >= 1
        assert 32 * MIB <= (shadow.memory_peak() or 0) <= 64 * MIB


def test_what_takes_more_cpu_than_its_limit_is_stopped_for_a_while() -> None:
    with pod({"shadow": Limits(0.05, 0.1)}) as made:
        shadow = grouped(made["shadow"])
        with start(shadow, "while True: pass") as process:
            until(lambda: shadow.throttled() > 2, "the quota never stopped it")
            process.kill()


def test_without_cgroups_memory_has_a_ceiling_and_the_container_says_what_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "HIERARCHIES", tmp_path)
    with pod({"shadow": SMALL}) as made:
        shadow = made["shadow"]
        assert shadow.how == "rlimits and nice"
        with start(shadow, f"bytearray({256 * MIB})") as greedy:
            assert greedy.stderr is not None
            assert "MemoryError" in greedy.stderr.read()
        with start(shadow, "import os; print(os.nice(0))") as polite:
            assert polite.stdout is not None
            assert polite.stdout.read() == "19\n"
        assert (shadow.killed(), shadow.throttled(), shadow.cpu_seconds()) == (0, 0, None)
