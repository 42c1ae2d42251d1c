"""A container's first process outlives its child, however that ends, and lets it go in peace."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from load_tests.containers import Container, Limits, pod
from service.adapters.sidecar import Care, ceiling_below, teller

ROOT = Path(__file__).parents[2]
QUICK = "first_pause=0.05, longest_pause=0.1"
MARKS = "import os, sys, time; open({path!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
GREEDY = "kept = []\nwhile True: kept.append(bytearray(b'x') * (8 << 20)); time.sleep(0.05)"
MEMORY = 192 << 20
BEATS = "while True: os.write(3, b'.'); time.sleep(0.02)\n"
PARENT = """
import sys
from service.adapters.sidecar import Care, Sidecar
sys.exit(Sidecar((sys.executable, "-c", sys.argv[1]), Care({care})).run())
"""


def await_true(look: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


class Kept:
    """A sidecar in a process of its own, with a child that writes its id into a file first."""

    def __init__(self, folder: Path, child: str, care: str, prefix: tuple[str, ...]) -> None:
        self.path, self.log = folder / "born", folder / "log"
        code = MARKS.format(path=str(self.path)) + child
        command = [*prefix, sys.executable, "-c", PARENT.format(care=care), code]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log)

    def born(self, number: int) -> list[int]:
        """The ids of the children so far, once there are ``number``."""

        def read() -> list[int]:
            return [int(line) for line in self.path.read_text().split()] if self.path.exists() else []

        await_true(lambda: len(read()) >= number)
        return read()

    def ends(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)

    def said(self) -> str:
        return self.log.read_text()


@contextmanager
def kept(folder: Path, child: str, care: str = QUICK, prefix: tuple[str, ...] = ()) -> Iterator[Kept]:
    found = Kept(folder, child, care, prefix)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.wait()


def test_pauses_double_up_to_a_minute_and_start_anew_after_a_healthy_life() -> None:
    care, pause, seen = Care(), 0.0, []
    for lived in (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 60.0, 1.0):
        pause = care.pause_after(pause, lived)
        seen.append(pause)
    assert seen == [1, 2, 4, 8, 16, 32, 60, 60, 1, 2]


def test_the_child_stays_below_the_container_s_limit() -> None:
    assert ceiling_below(None) is None
    assert ceiling_below(128 << 20) == 96 << 20
    assert ceiling_below(1000 << 20) == 900 << 20
    with pytest.raises(ValueError, match="leaves nothing"):
        ceiling_below(32 << 20)


@pytest.mark.process
def test_a_child_that_crashes_is_started_again_and_its_end_is_told(tmp_path: Path) -> None:
    with kept(tmp_path, "sys.exit(78)") as it:
        it.born(3)
        assert it.process.poll() is None
        it.ends(signal.SIGTERM)
    assert "ended with status 78 (its configuration)" in it.said()


@pytest.mark.process
def test_a_child_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with kept(tmp_path, BEATS) as it:
        os.kill(it.born(1)[0], signal.SIGKILL)
        it.born(2)
        assert "was ended by SIGKILL" in it.said()


@pytest.mark.process
def test_a_child_that_falls_silent_is_killed_and_started_again(tmp_path: Path) -> None:
    with kept(tmp_path, BEATS, f"{QUICK}, silence=1.0") as it:
        first = it.born(1)[0]
        time.sleep(0.2)
        os.kill(first, signal.SIGSTOP)
        it.born(2)
        assert gone(first)
        assert "without a sign of life" in it.said()


@pytest.mark.process
def test_a_child_may_take_its_time_to_load(tmp_path: Path) -> None:
    with kept(tmp_path, "time.sleep(1)\n" + BEATS, f"{QUICK}, silence=0.2") as it:
        first = it.born(1)[0]
        time.sleep(1.5)
        assert it.born(1) == [first]


@pytest.mark.process
def test_a_child_that_takes_too_much_memory_is_refused_it_and_lives_again(tmp_path: Path) -> None:
    with kept(tmp_path, GREEDY, f"{QUICK}, ceiling={96 << 20}") as it:
        it.born(2)
        assert it.process.poll() is None
    assert "MemoryError" in it.said()
    told = re.search(r"ended with status 1; it used up to (\d+) MiB of memory, and is granted 96", it.said())
    assert told is not None
    assert 60 <= int(told[1]) < 130


@pytest.fixture
def container() -> Iterator[Container]:
    """One with a memory limit that the kernel holds."""
    with pod({"shadow": Limits(memory=MEMORY)}) as found:
        if "memory" not in found["shadow"].groups:
            pytest.skip("memory cgroups take root and a hierarchy that may be written")
        yield found["shadow"]


@pytest.mark.process
def test_a_container_s_memory_limit_is_found_in_it(container: Container) -> None:
    look = "from service.adapters.cgroups import memory_limit; print(memory_limit())"
    found = subprocess.run(
        container.wrap([sys.executable, "-c", look]), cwd=ROOT, capture_output=True, check=True
    )
    assert int(found.stdout) == MEMORY


@pytest.mark.process
def test_the_kernel_never_has_to_kill_in_a_container_whose_shadow_takes_too_much(
    tmp_path: Path, container: Container
) -> None:
    care, prefix = f"{QUICK}, ceiling={ceiling_below(MEMORY)}", tuple(container.wrap([]))
    with kept(tmp_path, GREEDY, care, prefix) as it:
        it.born(3)
        assert container.killed() == 0
    assert "MemoryError" in it.said()
    peak = container.memory_peak()
    assert peak is None or MEMORY // 2 < peak < MEMORY, "it may have most of what the container has"


@pytest.mark.process
def test_a_keeper_outlives_a_child_that_the_kernel_kills(tmp_path: Path, container: Container) -> None:
    with kept(tmp_path, GREEDY, QUICK, tuple(container.wrap([]))) as it:
        it.born(2)
        assert it.process.poll() is None
        assert container.killed() >= 1
        assert "was ended by SIGKILL" in it.said()


@pytest.mark.process
def test_sigterm_lets_the_child_end_in_its_own_time_and_its_status_is_passed_on(tmp_path: Path) -> None:
    gentle = (
        "import signal; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), sys.exit(7)))\n" + BEATS
    )
    with kept(tmp_path, gentle) as it:
        it.born(1)
        time.sleep(0.3)  # until the handler is in place: nothing else shows it
        assert it.ends(signal.SIGTERM) == 7
        assert len(it.born(1)) == 1


@pytest.mark.process
def test_a_container_that_is_suspended_for_a_while_goes_on_with_the_same_child(tmp_path: Path) -> None:
    with kept(tmp_path, BEATS, f"{QUICK}, silence=8.0, loading=8.0") as it:
        born = it.born(1)
        for _ in range(3):  # each for longer than the keeper waits at a time
            it.process.send_signal(signal.SIGSTOP)
            time.sleep(1.2)
            it.process.send_signal(signal.SIGCONT)
            time.sleep(0.1)
        assert it.process.poll() is None, it.said()
        assert it.born(1) == born
        assert not gone(born[0])


@pytest.mark.process
def test_sigterm_in_a_pause_ends_at_once(tmp_path: Path) -> None:
    with kept(tmp_path, "sys.exit(1)", "first_pause=60.0") as it:
        await_true(lambda: "started again in 60 s" in it.said())
        assert it.ends(signal.SIGTERM) == 0


@pytest.mark.process
def test_the_child_s_standard_input_ends_with_a_keeper_that_is_killed(tmp_path: Path) -> None:
    with kept(tmp_path, "os.read(0, 1)") as it:
        child = it.born(1)[0]
        it.process.kill()
        await_true(lambda: gone(child))


@pytest.mark.process
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="a process namespace takes root and unshare"
)
def test_as_pid_1_it_hears_sigterm_and_buries_orphans(tmp_path: Path) -> None:
    orphaning = "import subprocess; subprocess.Popen(['sh', '-c', 'true & exec sleep 0.1']).wait()\n" + BEATS
    with kept(tmp_path, orphaning, prefix=("unshare", "--pid", "--fork", "--kill-child")) as it:
        it.born(1)
        (keeper,) = psutil.Process(it.process.pid).children()
        await_true(lambda: [c.status() for c in keeper.children(recursive=True)] == ["sleeping"])
        keeper.send_signal(signal.SIGTERM)
        assert it.process.wait(20) == 128 + signal.SIGTERM


@pytest.mark.process
def test_the_keeper_takes_less_than_20_mb(tmp_path: Path) -> None:
    with kept(tmp_path, BEATS) as it:
        it.born(1)
        assert psutil.Process(it.process.pid).memory_info().rss < 20 << 20


def test_lines_are_json_where_a_variable_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    teller({"UNDERSTUDY_LOG_FORMAT": "json"})("again")
    teller({})("again")
    first, second = capsys.readouterr().err.splitlines()
    assert '"message": "again"' in first
    assert second.endswith("[WARNING] [understudy.sidecar] again")
