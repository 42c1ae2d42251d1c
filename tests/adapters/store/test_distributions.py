"""Rows by bin in the store: added once, whatever dies, added up over replicas, never lost by growing old."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from service.adapters.store.database import Database
from service.adapters.store.store import Store
from service.adapters.store.tables import DISTRIBUTION_SLOTS, DISTRIBUTION_WRITERS, DISTRIBUTIONS
from service.domain.drift.slots import KEPT_SECONDS, OLDER, SLOT_SECONDS, slot_of
from tests.adapters.store.counts import CREDIT, SHADOW, SLOT, read, rows

Make = Callable[[], Store]
ROOT = Path(__file__).parents[3]
NOW = 1_000_000_000.0
KEPT = KEPT_SECONDS // SLOT_SECONDS

# Says which batches were acknowledged, one a line, for as long as it lives; every tenth goes into a new slot,
# so that some are merged in the act.
WRITER = """
import sys
from service.adapters.store.database import Database
from service.adapters.store.store import Store
from tests.adapters.store.counts import rows
clock = [0.0]
store = Store(Database(sys.argv[1], patience=10), now=lambda: clock[0])
for number in range(1, 1_000_000):
    slot = 400 + number // 2
    clock[0] = (slot + 305) * 300.0
    assert store.add_rows(rows(number, {slot: [1, number]}, writer=sys.argv[2]))
    print(number, flush=True)
"""


class Clock:
    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def aging(make: Make, clock: Clock) -> Store:
    """A store whose clock is set by hand."""
    store = make()
    store._now = clock
    return store


def test_rows_of_replicas_add_up(make: Make) -> None:
    one, other = make(), make()
    assert one.add_rows(rows(1, {SLOT: [1, 2], SLOT + 1: [0, 5]}, writer="a" * 32))
    assert other.add_rows(rows(1, {SLOT: [10, 20]}, writer="b" * 32))
    assert read(one) == read(other) == {SLOT: [11, 22], SLOT + 1: [0, 5]}


def test_a_batch_that_is_written_again_counts_once(store: Store) -> None:
    assert store.add_rows(rows(1, {SLOT: [1, 2]}))
    assert not store.add_rows(rows(1, {SLOT: [1, 2]}))
    assert store.add_rows(rows(2, {SLOT: [1, 2]}))
    assert not store.add_rows(rows(1, {SLOT: [1, 2]}))
    assert read(store) == {SLOT: [2, 4]}


def test_roles_and_bins_are_told_apart(store: Store) -> None:
    other = CREDIT._replace(digest="1" * 32)
    for number, model in enumerate((CREDIT, SHADOW, other), 1):
        assert store.add_rows(rows(1, {SLOT: [number]}, model=model))
    assert [read(store, model) for model in (CREDIT, SHADOW, other)] == [
        {SLOT: [1]},
        {SLOT: [2]},
        {SLOT: [3]},
    ]


def test_a_model_nobody_wrote_of_has_no_beginning_and_one_without_rows_has(aging: Store) -> None:
    assert aging.rows(CREDIT) == ({}, None)
    assert aging.add_rows(rows(1))
    assert aging.rows(CREDIT) == ({}, NOW)


def test_the_beginning_stays_when_rows_come(aging: Store, clock: Clock) -> None:
    aging.add_rows(rows(1))
    clock.now += 5_000
    aging.add_rows(rows(2, {slot_of(clock.now): [3]}))
    assert aging.rows(CREDIT)[1] == NOW


def test_slots_too_old_for_a_window_become_one_sum_and_no_row_is_lost(aging: Store, clock: Clock) -> None:
    draw = random.Random(7)
    sent = np.zeros(3)
    for number in range(1, 200):
        clock.now += draw.choice([10, 300, 900, 4_000])
        slot = slot_of(clock.now) - draw.choice([0, 0, 1, KEPT + 3])  # some come late
        counts = [float(draw.randrange(5)) for _ in range(3)]
        sent += counts
        assert aging.add_rows(rows(number, {slot: counts}))
        kept = aging.rows(CREDIT)[0]
        assert sum(kept.values()).tolist() == sent.tolist()
        assert min(slot for slot in kept if slot != OLDER) >= slot_of(clock.now) - KEPT - 1
        assert len(kept) <= KEPT + 3
    assert kept[OLDER].sum() > 0


def test_vectors_of_another_length_are_refused_and_nothing_is_written(store: Store) -> None:
    store.add_rows(rows(1, {SLOT: [1, 2]}))
    for wrong in ({SLOT: [1.0]}, {SLOT: [1.0, 2.0], SLOT + 1: [1.0]}):
        with pytest.raises(ValueError, match=r"vectors of \[1, 2\] cells"):
            store.add_rows(rows(2, wrong))
    assert store.add_rows(rows(2, {SLOT: [1, 2]}))
    assert read(store) == {SLOT: [2, 4]}


def test_models_nobody_counts_are_forgotten_whole_and_others_stay(aging: Store, clock: Clock) -> None:
    aging.add_rows(rows(1, {SLOT: [1]}, model=SHADOW))
    clock.now += 100
    aging.add_rows(rows(1, {SLOT: [2]}))
    assert not aging.forget_rows(NOW)
    assert aging.forget_rows(NOW + 100)
    assert not aging.forget_rows(NOW + 100)
    assert aging.rows(SHADOW) == ({}, None)
    assert [counts.tolist() for counts in aging.rows(CREDIT)[0].values()] == [[2]]
    with aging._database.look() as connection:
        for table in (DISTRIBUTIONS, DISTRIBUTION_WRITERS, DISTRIBUTION_SLOTS):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 1


def test_many_writers_at_once_lose_nothing(make: Make) -> None:
    gate, outcomes = threading.Barrier(4, timeout=60), []

    def work(writer: str) -> None:
        store = make()
        gate.wait()
        for number in range(1, 21):
            batch = rows(number, {SLOT + number % 3: [1, number]}, writer=writer * 32)
            outcomes.append(store.add_rows(batch))

    threads = [threading.Thread(target=work, args=(writer,)) for writer in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes == [True] * 80
    assert np.sum(list(read(make()).values()), axis=0).tolist() == [80, 4 * 210]


def test_writers_whose_clocks_differ_merge_each_others_slots_and_lose_nothing(make: Make) -> None:
    gate, errors = threading.Barrier(4, timeout=60), []

    def work(writer: str, ahead: float) -> None:
        store, clock = make(), Clock(NOW + ahead)
        store._now = clock
        gate.wait()
        try:
            for number in range(1, 41):
                clock.now += KEPT_SECONDS / 5
                recent = slot_of(clock.now)
                store.add_rows(rows(number, {recent - number % 7: [1], recent: [1]}, writer=writer * 32))
        except Exception as error:  # a deadlock, say
            errors.append(error)

    threads = [threading.Thread(target=work, args=(who, 7_000.0 * place)) for place, who in enumerate("abcd")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    found = read(make())
    assert sum(counts[0] for counts in found.values()) == sum(
        2 if number % 7 else 1 for _ in threads for number in range(1, 41)
    )
    assert found[OLDER][0] > 0


def test_what_was_acknowledged_is_there_once_after_a_kill_in_the_act(url: str, make: Make) -> None:
    make().learnt()
    written = 0
    for life in ("f" * 32, "5" * 32):
        command = [sys.executable, "-c", WRITER, url, life]
        with subprocess.Popen(
            command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                if int(line) >= 40:
                    break
            writer.kill()
            told = max([40, *(int(line) for line in writer.stdout if line.endswith("\n"))])
            assert writer.wait(30) == -signal.SIGKILL
        store = make()
        found = sum(counts[0] for counts in read(store).values())
        assert found - written in {told, told + 1}  # one may have been written and not told of any more
        assert not store.add_rows(rows(told, {400: [1, told]}, writer=life))
        store.add_rows(rows(told + 1, {400: [1, told + 1]}, writer=life))  # as the next life would
        written += told + 1
        assert sum(counts[0] for counts in read(store).values()) == written


def test_a_replaced_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store(Database(f"sqlite:///{path}", patience=5))
    store.add_rows(rows(1, {SLOT: [1]}))
    for each in tmp_path.iterdir():
        each.unlink()
    assert store.add_rows(rows(2, {SLOT: [2]}))
    assert read(store) == {SLOT: [2]}
    store.close()
