"""The ledger: shared by processes, exact whatever dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from service.adapters.ledger import SENDERS, Ledger, Side
from service.domain.observation import COUNT_OUTCOMES, OUTCOMES, RECORD_OUTCOMES, Outcome
from service.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
TAGS = ("m:one", "m:two")
EVERYBODY = np.repeat(np.arange(SENDERS), 2).astype(np.int16)

# Two sides that write without end, or so many times; each says its law in a comment.
EDGE = """
ledger = Ledger(path, ("m:one", "m:two"))
for _ in turns:  # what is handed over is at most 5 rows ahead of what is counted
    ledger.hand_over(3, 5)
    ledger.count(Side.EDGE, 3, 1, "sampled_out", 5)
"""
SHADOW = """
ledger = Ledger(path, ("m:one", "m:two"))
senders = np.repeat(np.arange(SENDERS), 2).astype(np.int16)
for _ in turns:  # every sender has as many rows as any other, up to the 2 of this turn
    ledger.count_by_sender(1, "compared", senders)
"""
HEAD = """
import itertools, sys
from pathlib import Path
import numpy as np
from service.adapters.ledger import SENDERS, Ledger, Side
path, turns = Path(sys.argv[1]), itertools.repeat(None, *map(int, sys.argv[2:]))
"""


@contextmanager
def writer(script: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes to a ledger; killed at the end if it still runs."""
    command = [sys.executable, "-c", HEAD + script, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "the condition did not come about"
        time.sleep(0.001)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.bin"


def test_a_new_ledger_counts_nothing(path: Path) -> None:
    ledger = Ledger(path, TAGS)
    assert ledger.totals(0) == dict.fromkeys(OUTCOMES, 0)
    assert (ledger.in_flight(0), ledger.handed(0), ledger.crashes(1)) == (0, 0, 0)
    assert not ledger.running(0)
    assert not ledger.breaker_open(1)


def test_each_outcome_of_each_candidate_has_its_own_count(path: Path) -> None:
    ledger = Ledger(path, TAGS)
    for candidate in range(2):
        for index, outcome in enumerate(OUTCOMES):
            for sender in (0, 17, SENDERS - 1):
                ledger.count(Side.EDGE, sender, candidate, outcome, 100 * candidate + index)
                ledger.count(Side.SHADOW, sender, candidate, outcome, 1)
    for candidate in range(2):
        expected = {outcome: 3 * (100 * candidate + index + 1) for index, outcome in enumerate(OUTCOMES)}
        assert ledger.totals(candidate) == expected


def test_rows_of_many_senders_are_counted_each_for_its_own(path: Path) -> None:
    ledger = Ledger(path, TAGS)
    ledger.count_by_sender(1, "compared", np.array([0, 5, 5, 63, 5], np.int16))
    ledger.count_by_sender(1, "deadline", np.array([5], np.int16))
    ledger.count_by_sender(1, "deadline", np.array([], np.int16))
    assert [ledger.accounted(sender, 1) for sender in (0, 5, 63, 1)] == [1, 4, 1, 0]
    assert ledger.accounted(5, 0) == 0


def test_rows_are_in_flight_from_the_hand_over_until_the_shadow_decides(path: Path) -> None:
    ledger = Ledger(path, TAGS)
    ledger.hand_over(2, 10)
    ledger.count(Side.EDGE, 2, 0, "sampled_out", 99)
    assert (ledger.in_flight(0), ledger.in_flight(1)) == (10, 10)
    ledger.count(Side.SHADOW, 2, 0, "compared", 4)
    assert (ledger.in_flight(0), ledger.in_flight(1)) == (6, 10)
    ledger.hand_over(2, -10)
    assert ledger.handed(2) == 0


def test_everything_survives_reopening(path: Path) -> None:
    first = Ledger(path, TAGS)
    first.count(Side.EDGE, 1, 0, "queue_full", 7)
    first.hand_over(1, 3)
    first.set_running(1, True)
    first.set_crashes(0, 4)
    first.set_breaker_open(0, True)
    second = Ledger(path, TAGS)
    assert second.totals(0)["queue_full"] == 7
    assert second.handed(1) == 3
    assert (second.running(0), second.running(1)) == (False, True)
    assert (second.crashes(0), second.crashes(1)) == (4, 0)
    assert (second.breaker_open(0), second.breaker_open(1)) == (True, False)


def test_two_open_ledgers_see_each_other_at_once(path: Path) -> None:
    edge, shadow = Ledger(path, TAGS), Ledger(path, TAGS)
    edge.hand_over(0, 2)
    assert shadow.handed(0) == 2
    shadow.count(Side.SHADOW, 0, 0, "compared", 2)
    assert edge.in_flight(0) == 0


@pytest.mark.parametrize("size", [1, 8, 100_000])
def test_a_file_of_another_size_is_refused_and_left_alone(path: Path, size: int) -> None:
    path.write_bytes(b"\1" * size)
    with pytest.raises(ConfigurationError, match=f"ledger: {size} bytes, expected "):
        Ledger(path, TAGS)
    assert path.read_bytes() == b"\1" * size


def test_a_ledger_of_other_candidates_is_refused(path: Path) -> None:
    Ledger(path, TAGS).hand_over(0, 1)
    with pytest.raises(ConfigurationError, match="another server's ledger"):
        Ledger(path, TAGS[:1])
    assert Ledger(path, TAGS).handed(0) == 1


def test_two_processes_on_different_sides_lose_nothing(path: Path) -> None:
    turns = 20_000
    with writer(EDGE, path, turns) as edge, writer(SHADOW, path, turns) as shadow:
        assert (edge.wait(30), shadow.wait(30)) == (0, 0)
    ledger = Ledger(path, TAGS)
    totals = ledger.totals(1)
    assert (totals["sampled_out"], totals["compared"]) == (5 * turns, 2 * SENDERS * turns)
    assert ledger.handed(3) == 5 * turns
    assert not any(ledger.totals(0).values())


def test_a_kill_in_the_middle_leaves_every_count_whole(path: Path) -> None:
    ledger = Ledger(path, TAGS)

    def accounted() -> list[int]:
        return [ledger.accounted(sender, 1) for sender in range(SENDERS)]

    def beyond(handed: int, decided: int) -> bool:
        return ledger.handed(3) > handed and min(accounted()) > decided

    for _ in range(3):  # the reborn go on where the dead stopped
        enough = partial(beyond, ledger.handed(3) + 1_000, min(accounted()) + 1_000)
        with writer(EDGE, path) as edge, writer(SHADOW, path) as shadow:
            wait_until(enough)
            edge.kill()
            shadow.kill()
            assert (edge.wait(30), shadow.wait(30)) == (-signal.SIGKILL, -signal.SIGKILL)
        ahead = ledger.handed(3) - ledger.totals(1)["sampled_out"]
        assert ahead % 5 == 0
        assert 0 <= ahead <= 15  # 5 for each death so far
        uneven = accounted()
        assert all(rows % 2 == 0 for rows in uneven)
        assert max(uneven) - min(uneven) <= 6
        assert sum(uneven) == ledger.totals(1)["compared"]


def test_two_threads_of_the_shadow_lose_nothing_to_each_other(path: Path) -> None:
    ledger, turns = Ledger(path, TAGS), 5_000

    def decide(outcome: Outcome) -> None:
        for _ in range(turns):
            ledger.count_by_sender(0, outcome, EVERYBODY)

    with ThreadPoolExecutor(2) as pool:  # the receiver's thread and the candidate's
        list(pool.map(decide, ("queue_full", "compared")))
    totals = ledger.totals(0)
    assert totals["queue_full"] == totals["compared"] == turns * len(EVERYBODY)


def test_records_have_a_page_of_their_own_behind_the_candidates(path: Path) -> None:
    ledger = Ledger(path, TAGS, records=True)
    assert (ledger.pages, ledger.records) == (3, 2)
    ledger.count(Side.EDGE, 0, 2, "sampled_out", 4)
    ledger.count_by_sender(2, "written", np.array([0, 0, 5], np.int16))
    ledger.hand_over(0, 3)
    expected = dict.fromkeys(RECORD_OUTCOMES, 0) | {"sampled_out": 4, "written": 3}
    assert ledger.totals(2) == expected
    assert ledger.totals(1) == dict.fromkeys(OUTCOMES, 0)
    assert ledger.in_flight(2) == 0
    assert Ledger(path, TAGS, records=True).accounted(0, 2) == 2


def test_without_candidates_the_records_alone_are_accounted_for(path: Path) -> None:
    ledger = Ledger(path, (), records=True)
    ledger.offer(7, 10)
    ledger.hand_over(7, 6)
    ledger.count(Side.EDGE, 7, 0, "queue_full", 3)
    assert ledger.unaccounted(7) == 1
    assert (ledger.pages, ledger.records) == (1, 0)


def test_a_ledger_with_and_one_without_records_are_not_the_same(path: Path) -> None:
    Ledger(path, TAGS)
    with pytest.raises(ConfigurationError, match="another server's ledger"):
        Ledger(path, TAGS, records=True)


def test_distributions_have_the_last_page_with_outcomes_of_their_own(path: Path) -> None:
    ledger = Ledger(path, TAGS, records=True, distributions=True)
    assert (ledger.pages, ledger.records, ledger.distributions) == (4, 2, 3)
    ledger.count_by_sender(3, "counted", np.array([5, 5, 6], dtype=np.int16))
    ledger.count(Side.EDGE, 5, 3, "sampled_out", 2)
    assert ledger.totals(3) == dict.fromkeys(COUNT_OUTCOMES, 0) | {"counted": 3, "sampled_out": 2}
    assert Ledger(path, TAGS, records=True, distributions=True).accounted(5, 3) == 2
    assert not any(ledger.totals(2).values())


def test_distributions_alone_are_enough_for_a_ledger(path: Path) -> None:
    ledger = Ledger(path, (), distributions=True)
    ledger.offer(3, 5)
    ledger.hand_over(3, 4)
    assert (ledger.pages, ledger.unaccounted(3)) == (1, 1)
    ledger.count(Side.EDGE, 3, 0, "queue_full", 1)
    ledger.count_by_sender(0, "counted", np.full(4, 3, np.int16))
    assert (ledger.unaccounted(3), ledger.in_flight(0)) == (0, 0)
