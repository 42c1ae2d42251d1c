"""Evidence in the store: added once, whatever dies, added up over replicas, and forgotten in time."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, event, func, select, text

from service.adapters.store.database import Database
from service.adapters.store.store import Store
from service.adapters.store.tables import ANSWERS, CASES, HOURS, METADATA, PAIRINGS, TOTALS, WRITERS
from service.domain.evidence.books import BINS, Page
from service.domain.evidence.paired import Pairing
from service.domain.labels import Filed
from service.errors import StoreError
from tests.adapters.store.answers import NOW, THEN, given
from tests.adapters.store.comparisons import (
    ALL,
    CREDIT,
    OTHER,
    YOUNG,
    Judge,
    answers,
    batch,
    case,
    key,
    total,
)

Make = Callable[[], Store]
ROOT = Path(__file__).parents[3]
HOUR = 3_600.0

# Says which batches were acknowledged, one a line, for as long as it lives.
WRITER = """
import sys
from service.adapters.store.database import Database
from service.adapters.store.store import Store
from tests.adapters.store.comparisons import ALL, YOUNG, answers, batch, case
store = Store(Database(sys.argv[1], patience=10))
for number in range(1, 1_000_000):
    one = batch(
        number,
        {number // 20: {ALL: [1.0, number], YOUNG: [1.0]}},
        writer=sys.argv[2],
        cases=[case(-number, f"{sys.argv[2]}-{number}")],
        answers=[answers(f"{sys.argv[2]}-{number}-{part}") for part in range(20)],
    )
    assert store.add(one)
    print(number, flush=True)
"""


def count(store: Store, table: str) -> int:
    with store._database.look() as connection:
        found = select(func.count()).select_from(METADATA.tables[table])
        return int(connection.execute(found).scalar_one())


def process_of(connection: Connection) -> int:
    """The server's process behind a connection to PostgreSQL."""
    driver = connection.connection.driver_connection
    assert driver is not None
    return int(driver.info.backend_pid)


def test_what_batches_say_adds_up_and_hours_are_kept_apart(store: Store, make: Make) -> None:
    assert store.add(batch(1, {7: {ALL: [1, 2.5], YOUNG: [1]}, 8: {ALL: [10, 0.25]}}))
    assert make().add(batch(2, {8: {ALL: [100, 0], YOUNG: [3]}}))
    books, since = store.sums(key())
    assert {page: total(books, page) for page in books} == {ALL: [111, 2.75], YOUNG: [4]}
    assert since is not None
    found = [(hour, sums.tolist()) for hour, sums in make().hours(key(), ALL)]
    assert found == [(7, [1, 2.5]), (8, [110, 0.25])]
    assert [(hour, sums.tolist()) for hour, sums in store.hours(key(), YOUNG)] == [(7, [1]), (8, [3])]


def test_evidence_has_a_beginning_that_stays(url: str) -> None:
    clock = iter([THEN, THEN + 1, THEN + 2, NOW])
    store = Store(Database(url, patience=10), now=lambda: next(clock))
    assert store.sums(key()) == ({}, None)
    for number in (1, 2, 3):
        store.add(batch(number))
    assert store.sums(key()) == ({}, THEN)
    assert store.hours(key(), ALL) == store.cases(key()) == []
    store.close()


def test_a_batch_that_is_written_again_is_left_alone(store: Store, make: Make) -> None:
    one = batch(1, {7: {ALL: [1]}}, cases=[case(-1.0)], answers=[answers("a")])
    assert store.add(one)
    assert not store.add(one)
    assert store.add(replace(one, number=2))
    assert not make().add(one)
    assert make().add(replace(one, writer="b" * 32))
    assert total(store.sums(key())[0], ALL) == [3]
    assert len(store.cases(key())) == 1
    assert count(store, ANSWERS.name) == 1


def test_one_writer_numbers_its_batches_for_each_pairing(store: Store) -> None:
    assert store.add(batch(1, {7: {ALL: [1]}}))
    assert store.add(batch(1, {7: {ALL: [5]}}, pairing=OTHER))
    assert total(store.sums(OTHER.key)[0], ALL) == [5]
    assert total(store.sums(CREDIT.key)[0], ALL) == [1]


@pytest.mark.parametrize(
    "other",
    [key("credit:3"), key(digest="f" * 32), replace(key(), production="credit:9")],
    ids=["candidate", "digest", "production"],
)
def test_evidence_under_another_key_is_not_added_to_it(store: Store, other: object) -> None:
    store.add(batch(1, {7: {ALL: [1]}}))
    assert store.sums(other) == ({}, None)  # type: ignore[arg-type]  # parametrized


def test_long_vectors_come_back_to_the_last_bit(store: Store) -> None:
    draw = np.random.default_rng(5)
    parts = [draw.normal(size=10 * 100 * 10) * 1e9 for _ in range(3)]
    page = Page(BINS, "feature:größe " + "x" * 500)
    for number, part in enumerate(parts, 1):
        store.add(batch(number, {7: {page: part.tolist()}}))
    np.testing.assert_array_equal(store.sums(key())[0][page], parts[0] + parts[1] + parts[2])


def test_columns_that_do_not_match_are_refused_and_nothing_is_written(store: Store) -> None:
    store.add(batch(1, {7: {ALL: [1, 2]}}))
    with pytest.raises(ValueError, match="2 columns in the store, not 3"):
        store.add(batch(2, {7: {ALL: [1, 2, 3]}}, cases=[case(-1.0)], answers=[answers("a")]))
    with pytest.raises(ValueError, match="other classes or slices"):
        store.add(batch(2, pairing=Pairing(key(), "binary", ("no", "yes"), ())))
    assert total(store.sums(key())[0], ALL) == [1, 2]
    assert (store.cases(key()), count(store, ANSWERS.name)) == ([], 0)
    assert store.add(batch(2, {7: {ALL: [1, 2]}}))


def test_replicas_that_write_at_once_lose_nothing(store: Store, make: Make) -> None:
    stores, batches = [make() for _ in range(4)], 25
    pages = [Page(BINS, f"feature:{number}") for number in range(20)]

    def work(index: int) -> None:
        draw = random.Random(index)
        for number in range(1, batches + 1):
            some = draw.sample(pages, 15)
            sums = {ALL: [1.0], **{page: [1.0] for page in some}}
            mine = [answers(f"shared-{draw.randrange(200)}") for _ in range(10)]
            one = batch(
                number,
                {draw.randrange(3): sums},
                writer=f"{index:032d}",
                cases=[case(-draw.random(), f"c{draw.randrange(20)}") for _ in range(3)],
                answers=mine,
            )
            while True:
                try:
                    assert stores[index].add(one)
                    break
                except StoreError:  # a time-out where the machine is busy; it is written again
                    continue

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    books, _ = store.sums(key())
    assert total(books, ALL) == [4 * batches]
    assert sum(books[page][0] for page in pages) == 4 * batches * 15
    assert sum(sums[0] for _, sums in store.hours(key(), ALL)) == 4 * batches
    with store._database.look() as connection:
        names = connection.execute(select(ANSWERS.c.request_id)).scalars().all()
    assert len(names) == len(set(names)) > 100


def test_the_same_batch_by_two_at_once_is_written_once(store: Store, make: Make) -> None:
    """As where a connection broke and the server still works on what came through it."""
    stores, gate = [make(), make()], threading.Barrier(2)
    store.add(batch(1))
    outcomes: list[bool] = []

    def work(at: Store) -> None:
        for number in range(2, 30):
            gate.wait(60)
            outcomes.append(at.add(batch(number, {7: {ALL: [1]}})))

    threads = [threading.Thread(target=work, args=(at,)) for at in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes) == [False] * 28 + [True] * 28
    assert total(store.sums(key())[0], ALL) == [28]


def test_the_best_cases_of_each_kind_and_slice_are_kept(store: Store, make: Make) -> None:
    draw = random.Random(2)
    ranks, stores = draw.sample(range(1_000), 60), [store, make()]
    for number, rank in enumerate(ranks, 1):
        found = [
            case(-rank, f"r{rank}"),
            case(rank, f"r{rank}", kind="sample", where="young"),
            case(rank, f"r{rank}", kind="sample", where="rent"),
        ]
        draw.choice(stores).add(batch(number, cases=found))
        if number % 10 == 0:
            store.keep_cases(key(), 5, 3, 0.0)
    found = store.cases(key())
    assert [one.rank for one in found if one.kind == "worst"] == sorted(-rank for rank in ranks)[:5]
    for where in ("young", "rent"):
        assert [one.rank for one in found if one.slice == where] == sorted(ranks)[:3]
    assert len(found) == 5 + 2 * 3
    store.keep_cases(key("nobody:1"), 0, 0, NOW)
    assert store.cases(key()) == found


def test_a_case_comes_back_as_it_was_and_the_worse_of_two_on_one_row_goes(store: Store) -> None:
    one = case(-0.5, "ä", row=3, at=NOW)
    store.add(batch(1, cases=[one]))
    assert store.cases(key()) == [one]
    store.add(batch(2, cases=[replace(one, rank=-0.4, at=THEN)]))
    assert store.cases(key()) == [one]
    worse = replace(one, rank=-0.6, at=NOW + 1, document={"severity": 0.6})
    store.add(batch(3, cases=[worse]))
    assert store.cases(key()) == [worse]


def test_cases_older_than_wanted_go(store: Store) -> None:
    store.add(batch(1, cases=[case(-1.0, "old", at=THEN), case(-0.5, "young", at=NOW)]))
    store.keep_cases(key(), 20, 20, NOW)
    assert [one.request_id for one in store.cases(key())] == ["young"]


def test_a_document_that_is_no_json_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.add(batch(1, {7: {ALL: [1]}}, cases=[replace(case(-1.0), document={"a": float("nan")})]))
    assert store.sums(key()) == ({}, None)


def test_what_was_acknowledged_is_there_once_after_a_kill_in_the_middle(url: str, make: Make) -> None:
    make().learnt()
    written = 0
    for life in ("f" * 32, "5" * 32):
        command = [sys.executable, "-c", WRITER, url, life]
        environment = {"PYTHONPATH": str(ROOT)}
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                if int(line) >= 40:
                    break
            writer.kill()
            told = max([40, *(int(line) for line in writer.stdout if line.endswith("\n"))])
            assert writer.wait(30) == -signal.SIGKILL
        store = make()
        before = total(store.sums(key())[0], ALL)[0]
        assert before - written in {told, told + 1}  # one may have been written and not told of any more
        again = batch(told, {told // 20: {ALL: [1, told], YOUNG: [1]}}, writer=life)
        assert not store.add(again)
        written += told
        if store.add(replace(again, number=told + 1)):  # as the process would that is started anew
            assert before == written
        written += 1
    store = make()
    books, _ = store.sums(key())
    assert total(books, ALL)[0] == total(books, YOUNG)[0] == written
    for page in (ALL, YOUNG):
        assert sum(sums[0] for _, sums in store.hours(key(), page)) == written
    assert count(store, ANSWERS.name) in {20 * (written - extra) for extra in range(3)}
    assert count(store, CASES.name) == count(store, ANSWERS.name) / 20


def test_a_full_disk_leaves_no_half_batch_and_it_is_written_later(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'store.db'}", patience=1)
    store = Store(database)
    store.add(batch(1, {7: {ALL: [1]}}))
    with database.look() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count = {pages + 2}"))
    large = batch(
        2,
        {7: {ALL: [1], Page(BINS, "score"): [0.0] * 50_000}},
        cases=[case(-1.0)],
        answers=[answers(f"r{number}", 50) for number in range(100)],
    )
    for _ in range(2):
        with pytest.raises(StoreError, match="full"):
            store.add(large)
    assert total(store.sums(key())[0], ALL) == [1]
    assert (store.cases(key()), count(store, ANSWERS.name)) == ([], 0)
    with database.look() as connection:
        connection.execute(text("PRAGMA max_page_count = 1000000"))
    assert store.add(large)
    assert total(store.sums(key())[0], ALL) == [2]
    assert count(store, ANSWERS.name) == 100
    store.close()


@pytest.mark.system("postgres")
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_server_that_hangs_up_in_the_middle_leaves_no_half_batch(url: str, make: Make) -> None:
    database = Database(url, patience=10)
    store, other = Store(database), make()
    store.add(batch(1, {7: {ALL: [1]}}))

    def hang_up(connection: Connection, _: object, statement: str, *__: object) -> None:
        if "INTO totals" in statement:
            with other._database.begin() as mine:
                mine.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": process_of(connection)})

    event.listen(database._engine, "before_cursor_execute", hang_up)
    one = batch(2, {7: {ALL: [1]}}, cases=[case(-1.0)], answers=[answers("a")])
    with pytest.raises(StoreError, match="terminat"):
        store.add(one)
    assert total(other.sums(key())[0], ALL) == [1]
    assert (other.cases(key()), count(other, ANSWERS.name)) == ([], 0)
    event.remove(database._engine, "before_cursor_execute", hang_up)
    assert store.add(one)
    assert total(other.sums(key())[0], ALL) == [2]
    store.close()


def test_hours_and_cases_go_with_age_and_what_they_add_up_to_stays(store: Store) -> None:
    now = 100 * HOUR
    store._now = lambda: now
    hours = {hour: {ALL: [1.0], YOUNG: [2.0]} for hour in range(90, 100)}
    found = [case(-1.0, f"c{hour}", at=(hour + 0.5) * HOUR) for hour in range(90, 100)]
    store.add(batch(1, hours, cases=found))
    looks = 1
    while store.forget(95.5 * HOUR):
        looks += 1
    assert looks > 5  # a little at a time
    assert [hour for hour, _ in store.hours(key(), ALL)] == [95, 96, 97, 98, 99]
    assert {one.request_id for one in store.cases(key())} == {f"c{hour}" for hour in range(95, 100)}
    assert total(store.sums(key())[0], ALL) == [10]


def test_a_pairing_that_nobody_writes_to_goes_entirely_and_may_come_again(store: Store) -> None:
    store._now = lambda: THEN
    store.add(batch(3, {0: {ALL: [1]}}, cases=[case(-1.0)]))
    store._now = lambda: NOW
    store.add(batch(1, {0: {ALL: [7]}}, pairing=OTHER))
    while store.forget(NOW - 1):
        pass
    assert store.sums(CREDIT.key) == ({}, None)
    assert store.cases(CREDIT.key) == []
    assert total(store.sums(OTHER.key)[0], ALL) == [7]
    for table in (PAIRINGS, WRITERS, TOTALS, HOURS):
        assert count(store, table.name) == 1
    assert store.add(batch(1, {0: {ALL: [2]}}))
    assert total(store.sums(CREDIT.key)[0], ALL) == [2]


def test_answers_go_with_age_and_where_there_are_too_many(store: Store) -> None:
    store.add(batch(1, answers=[answers(f"old-{number}", at=THEN) for number in range(700)]))
    store.add(batch(2, answers=[answers(f"young-{number:02d}", 10, at=NOW) for number in range(30)]))
    while store.sweep(NOW):
        pass
    assert count(store, ANSWERS.name) == 30
    store.measure(100)
    while store.sweep(0.0):
        pass
    with store._database.look() as connection:
        names = set(connection.execute(select(ANSWERS.c.request_id)).scalars())
    assert names == {f"young-{number}" for number in range(20, 30)}
    assert store.file([given("young-25", *["good"] * 10)]) == [Filed(True, True)]


def test_files_of_evidence_are_for_the_service_alone(tmp_path: Path) -> None:
    store = Store(Database(f"sqlite:///{tmp_path / 'store.db'}", patience=1))
    store.add(batch(1, cases=[case(-1.0)]))
    assert {found.stat().st_mode & 0o777 for found in tmp_path.iterdir()} == {0o600}
    store.close()


def test_evidence_is_found_without_reading_all_of_it(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 's.db'}", patience=1)
    store, asked = Store(database), {}

    def note(_: object, __: object, statement: str, values: object, context: object, *___: object) -> None:
        asked[statement] = values[0] if context.executemany else values  # type: ignore[attr-defined,index]  # SQLAlchemy's

    event.listen(database._engine, "before_cursor_execute", note)
    store.file([given("a", "good")])
    store.add(batch(1, {7: {ALL: [1]}}, cases=[case(-1.0)], answers=[answers("a")]))
    store.join(lambda batches, learnt: {}, Judge())
    store.sums(key())
    store.hours(key(), ALL)
    store.cases(key())
    store.keep_cases(key(), 1, 1, 0.0)
    store.forget(0.0)
    store.sweep(0.0)
    database.close()
    chosen = {
        statement: values
        for statement, values in asked.items()
        if "WHERE" in statement and statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT"))
    }
    assert len(chosen) >= 20
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as other:
        for statement, values in chosen.items():
            plan = [row[3] for row in other.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            scans = {step for step in plan if step.startswith("SCAN")}
            # of pairings there are a handful, and the subquery has the cases of one
            assert scans <= {"SCAN pairings", "SCAN anon_1", "SCAN (subquery-3)"}, (statement, plan)
