"""Labels that meet a million stored rows: how long, how much memory, how much disk, and what a kill costs.

A store is filled the way the shadow does it, with a record and both models' answers for each request of one
row, and sums of 6 slices and 25 variables every second. Then labels of random requests are filed one by one,
as ``/feedback`` does it durably, and joined in turns of 500 by the real measures of judgement, in a process
of its own whose memory is watched. At last a process that adds batches is killed again and again.

SQLite, and PostgreSQL where it is installed. Takes about 5 minutes, with ``--quick`` half a minute.
"""

from __future__ import annotations

import itertools
import multiprocessing
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from sqlalchemy import text

from load_tests import postgres
from load_tests.report import Finding, record
from load_tests.sections import Circumstances, Section
from load_tests.stats import percentile
from service.adapters.store.database import Database
from service.adapters.store.joining import TURN
from service.adapters.store.statements import chunks
from service.adapters.store.store import Store
from service.domain.disagreement.measure import Pair
from service.domain.evidence.books import AGREEMENT, BINS, Books, Key, Page
from service.domain.evidence.measures import JUDGEMENT
from service.domain.evidence.paired import Answers, Batch, Pairing
from service.domain.evidence.settling import Settling
from service.domain.evidence.sheet import sheet
from service.domain.labels import Answerer, Given, Record
from service.domain.schema import ModelSpec, Schema, Scores

T = TypeVar("T")

ROWS, QUICK_ROWS = 1_000_000, 50_000
FEW_ROWS = 20_000
"""In the store that the large one is compared with."""
SECOND = 5_000
"""Rows that a busy shadow writes at once."""
WRITTEN = 500
"""Records of one transaction, as the recorder has it."""
PATIENCE = 30.0
TOLD = 10
"""One label of another request for so many rows is there from the start."""
FILED = 200
"""Labels filed one by one."""
TURNS, QUICK_TURNS = 20, 4
KILLS, QUICK_KILLS = 10, 3
MOST_GROWTH = 5.0
"""Times as long as with a fiftieth of the rows, at most: an index is deeper, its pages are elsewhere."""

CLASSES = ("bad", "good")
SLICES = ("young", "old", "rent", "own", "new")
SPEC = ModelSpec("credit", "gbm-1", "binary", Schema((), "tensor"), CLASSES)
PAIRING = Pairing(Key("credit:gbm-1", "credit:gbm-2", "0" * 32), "binary", CLASSES, SLICES)
WHO = Answerer("credit:gbm-1", "production", "binary", CLASSES, 0.5, SLICES)
ALL = Page(AGREEMENT, "all")
SETTLE = Settling({PAIRING.key: sheet(Pair(SPEC, SPEC), JUDGEMENT)})


@dataclass(frozen=True, slots=True)
class Measured:
    """One kind of store with so many rows."""

    store: str
    rows: int
    records_per_second: float
    added_per_second: float
    """Rows of whole batches: both answers, sums and all."""
    record_bytes: float
    """On the disk for each row, with its index."""
    answer_bytes: float
    """The same of both models' answers."""
    sums_bytes: float
    """Of sums for each hour."""
    filed_ms: tuple[float, float]
    """Half of the labels, and 99 % of them, are on the disk within."""
    turn_ms: tuple[float, float]
    """Half of the turns of 500 labels, and all of them, are over within."""
    not_joined: int
    """Rows of labels that were filed."""
    memory_mib: float
    """That joining takes beside what the process had before."""
    killed: int = 0
    lost: int = 0
    """Batches that were acknowledged and are not there once."""
    recovered_ms: float = 0.0
    """Until a store whose writer was killed answers, at most."""


class Labelled(NamedTuple):
    """What a process saw that filed and joined labels."""

    filed: list[float]
    """Seconds."""
    turns: list[float]
    rows: int
    grown: int
    """Bytes."""


def join(circumstances: Circumstances) -> Section:
    """The measurements and claims about each kind of store."""
    rows, turns, kills = (
        (QUICK_ROWS, QUICK_TURNS, QUICK_KILLS) if circumstances.quick else (ROWS, TURNS, KILLS)
    )
    section = Section(
        "Labels joined with a million stored rows",
        ("store", "rows", "records/s", "added rows/s", "MB per million rows: records", "answers",
         "sums KB/hour", "filed ms p50", "p99", f"turn of {TURN} ms p50", "max", "memory MiB",
         "killed", "lost", "recovered ms"),
    )  # fmt: skip
    section.how = " ".join((__doc__ or "").split("\n\n")[1].split()).replace("``", "`")
    for name in ("SQLite", "PostgreSQL"):
        found = [measure(name, some, turns, kills if some == rows else 0) for some in (FEW_ROWS, rows)]
        measured = [each for each in found if each is not None]
        section.measured += [record(each) for each in measured]
        section.lines += [_line(each) for each in measured]
        if len(measured) == len(found):
            section.findings += _claims(measured[0], measured[1])
    return section


def measure(name: str, rows: int, turns: int, kills: int) -> Measured | None:
    """Fills a store, labels it and kills its writers; None where PostgreSQL is not installed."""
    with tempfile.TemporaryDirectory(prefix="understudy-join-") as folder:
        home = Path(folder)
        if name == "SQLite":
            return _measure(name, f"sqlite:///{home / 'store.db'}", rows, turns, kills)
        programs = postgres.installed()
        if programs is None:
            print("PostgreSQL is not installed: apt-get install postgresql", file=sys.stderr)
            return None
        (home / "server").mkdir()
        with postgres.server(programs, home / "server") as url:
            return _measure(name, url, rows, turns, kills)


def _measure(name: str, url: str, rows: int, turns: int, kills: int) -> Measured:
    print(f"{name}, {rows} rows", file=sys.stderr, flush=True)
    database = Database(url, patience=PATIENCE, durable=False)
    with closing(Store(database)) as store:
        for some in chunks(range(rows, rows + rows // TOLD)):  # which what is written may wait for
            store.file([_given(number) for number in some])
        sizes = [_size(database)]
        recorded = [_timed(store.write, some) for some in _records(rows)]
        sizes.append(_size(database))
        added = [_timed(store.add, one) for one in _batches("0" * 32, 1, rows // SECOND)]
        sizes.append(_size(database))
        sums = sum(value.nbytes for value in _books().values())
        hours = -(-(rows // SECOND) // 60)  # as _batches has them
        kill = [_kill(store, url, f"{life + 1:032d}", life) for life in range(kills)]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        labelled = pool.submit(label, url, rows, turns).result()
    return Measured(
        store=name,
        rows=rows,
        records_per_second=rows / sum(recorded),
        added_per_second=rows / sum(added),
        record_bytes=(sizes[1] - sizes[0]) / rows,
        answer_bytes=(sizes[2] - sizes[1] - sums * (1 + hours)) / rows,
        sums_bytes=sums,
        filed_ms=_milliseconds(labelled.filed, 99.0),
        turn_ms=_milliseconds(labelled.turns, 100.0),
        not_joined=turns * TURN - labelled.rows,
        memory_mib=labelled.grown / 2**20,
        killed=len(kill),
        lost=sum(lost for lost, _ in kill),
        recovered_ms=max((1e3 * seconds for _, seconds in kill), default=0.0),
    )


def label(url: str, rows: int, turns: int) -> Labelled:
    """Files labels of random requests and joins them, in a process that does nothing else."""
    draw = random.Random(rows)
    names = iter(draw.sample(range(rows), FILED + turns * TURN))
    joined, count = [], 0
    edge = Store(Database(url, patience=PATIENCE))
    shadow = Store(Database(url, patience=PATIENCE, durable=False))
    with closing(edge), closing(shadow):
        shadow.join(lambda _, __: {})
        before = _peak()
        filed = [_timed(edge.file, [_given(number)]) for number in itertools.islice(names, FILED)]
        while shadow.join(lambda _, __: {}, SETTLE).more:
            pass
        for _ in range(turns):
            edge.file([_given(number) for number in itertools.islice(names, TURN)])
            begun = time.perf_counter()
            found = shadow.join(lambda _, __: {}, SETTLE)
            joined.append(time.perf_counter() - begun)
            count += found.paired
    return Labelled(filed, joined, count, _peak() - before)


def write_on(url: str, writer: str, told: Connection) -> None:
    """Adds batches without end and tells each one's number."""
    store = Store(Database(url, patience=PATIENCE, durable=False))
    for one in _batches(writer, 1, 10**9):
        store.add(one)
        told.send(one.number)


def _kill(store: Store, url: str, writer: str, life: int) -> tuple[int, float]:
    """Kills a writer in the middle: batches that are lost or there twice, seconds until the store answers."""
    batches = store.sums(PAIRING.key)[0][ALL][0] / SECOND
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=write_on, args=(url, writer, its))
    process.start()
    its.close()
    acknowledged = [mine.recv() for _ in range(3)]
    time.sleep(random.Random(life).uniform(0.0, 0.3))
    process.kill()
    while True:
        try:
            acknowledged.append(mine.recv())
        except EOFError:
            break
    process.join()
    begun = time.perf_counter()
    with closing(Store(Database(url, patience=PATIENCE, durable=False))) as again:
        found = again.sums(PAIRING.key)[0][ALL][0] / SECOND - batches
        took = time.perf_counter() - begun
        repeated = [again.add(_batch(writer, number)) for number in acknowledged]
    told = max(acknowledged)
    # the last one may have been written without that anybody was told of it
    return sum(repeated) + int(found not in {told, told + 1}), took


def _given(number: int) -> Given:
    return Given(_name(number), (CLASSES[number % 2],), time.time())


def _name(number: int) -> str:
    """As long as the ids that the service gives, and in as random an order."""
    return str(uuid.UUID(int=random.Random(number).getrandbits(128)))


def _records(rows: int) -> Iterator[list[Record]]:
    for start in range(0, rows, WRITTEN):
        yield [
            Record(_name(number), 0, 1, 1e9, WHO, _scores(number), None, np.array([5], dtype=np.uint32))
            for number in range(start, min(start + WRITTEN, rows))
        ]


def _batches(writer: str, first: int, last: int) -> Iterator[Batch]:
    for number in range(first, last + 1):
        yield _batch(writer, number)


def _batch(writer: str, number: int) -> Batch:
    """What a busy second comes to."""
    start = (number - 1) * SECOND + (int(writer) * 10**8)
    answers = tuple(
        Answers(_name(row), 0, 1, 1e9, _scores(row), _scores(row + 1), np.array([5], dtype=np.uint32))
        for row in range(start, start + SECOND)
    )
    return Batch(writer, number, PAIRING, {(number - 1) // 60: _books()}, (), answers)


def _scores(row: int) -> Scores:
    positive = row % 97 / 97
    return np.array([[1 - positive, positive]], dtype=np.float32)


def _books() -> Books:
    """Six slices of 200 columns, and bins of 25 variables."""
    books = {Page(AGREEMENT, name): np.full(200, float(SECOND)) for name in ("all", *SLICES)}
    return books | {Page(BINS, f"feature:{number}"): np.ones(12 * 4) for number in range(25)}


def _peak() -> int:
    """Bytes of memory that this process had at most."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _size(database: Database) -> int:
    """Bytes on the disk."""
    with database.look() as connection:
        if connection.dialect.name == "postgresql":
            query = "SELECT pg_database_size(current_database())"
        else:
            query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        return int(connection.execute(text(query)).scalar_one())


def _timed(call: Callable[[T], object], argument: T) -> float:
    begun = time.perf_counter()
    call(argument)
    return time.perf_counter() - begun


def _milliseconds(seconds: Sequence[float], upper: float) -> tuple[float, float]:
    ordered = sorted(1e3 * each for each in seconds)
    return percentile(ordered, 50.0), percentile(ordered, upper)


def _claims(few: Measured, many: Measured) -> Iterator[Finding]:
    """What is promised, and the ratios between many rows and few."""
    growth = {
        f"{many.store}: a turn with {many.rows} rows against {few.rows}, p50": many.turn_ms[0]
        / few.turn_ms[0],
        f"{many.store}: filing with {many.rows} rows against {few.rows}, p50": many.filed_ms[0]
        / few.filed_ms[0],
    }
    for what, ratio in growth.items():
        yield Finding(what, ratio, "times", MOST_GROWTH, at_most=True)
    yield Finding(f"{many.store}: labels that were not joined", many.not_joined, "", 0, at_most=True)
    yield Finding(
        f"{many.store}: batches lost or doubled by {many.killed} kills", many.lost, "", 0, at_most=True
    )


def _line(one: Measured) -> tuple[str, ...]:
    figures = (
        one.records_per_second, one.added_per_second,
        one.record_bytes, one.answer_bytes,  # bytes per row are megabytes per million rows
        one.sums_bytes / 1e3, *one.filed_ms, *one.turn_ms, one.memory_mib,
    )  # fmt: skip
    shown = [f"{each:.3g}" if each < 1_000 else f"{each:,.0f}" for each in figures]
    return one.store, f"{one.rows:,}", *shown, str(one.killed), str(one.lost), f"{one.recovered_ms:.0f}"
