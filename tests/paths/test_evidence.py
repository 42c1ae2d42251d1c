"""A candidate's shadow, its witness and the keeper with a real store: from rows to a verdict on the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.adapters.store.database import Database
from service.adapters.store.store import Store
from service.domain.disagreement.measure import Pair, Region
from service.domain.evidence.books import AGREEMENT, BINS, LEFT_OUT, NOISE, SPEED, Page
from service.domain.evidence.books import OUTCOMES as OUTCOMES_BOOK
from service.domain.evidence.document import Seen
from service.domain.evidence.measures import DISAGREEMENT
from service.domain.evidence.sheet import sheet
from service.domain.labels import Given
from service.domain.observation import OUTCOMES, ShadowBatch
from service.domain.schema import FeatureBatch, Scores
from service.paths.dossier import Dossier, DossierLimits
from service.paths.keeper import Keeper
from service.paths.repeats import Repeats, Variant
from tests.adapters.store.comparisons import Judge
from tests.domain.models import spec
from tests.paths.keepers import pairing
from tests.paths.shadows import POISON, World, scenario
from tests.paths.witnesses import NAMES, SHEET, SLICES, FakeCaseReasons, WitnessWorld, batch, scores

AGE = 4711.5


class Life:
    """One life of a shadow process with one candidate, on the store of a path."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path, writer: str) -> None:
        self.store = Store(Database(f"sqlite:///{path}", patience=5.0))
        self.world = World(monkeypatch)
        self.witnesses = WitnessWorld({"age": "drop", "home": "hash"})
        self.reasons: FakeCaseReasons = self.witnesses.reasons()
        shadow = self.world.shadow
        shadow.sheet, shadow.slices, shadow.witness = SHEET, SLICES, self.witnesses.witness
        shadow.infer = self.infer
        self.seen: list[Seen] = []
        kept = pairing()
        self.dossier = Dossier(
            "m:new",
            type(kept)(kept.key, kept.task, kept.classes, NAMES),
            self.witnesses.witness,
            lambda: self.world.outcomes,
            self._judge,
            writer * 32,
            DossierLimits(worst=3, sample=2),
        )
        self.keeper = Keeper(
            (self.dossier,),
            lambda: self.store,
            lambda documents: None,
            clock=self.clock,
            now=self.witnesses.wall,
        )

    def clock(self) -> float:
        return self.world.now

    def infer(self, rows: FeatureBatch, due: float) -> Scores:
        """Says yes to the old; fails for a poisonous one."""
        if (rows[:, 0] == POISON).any():
            return self.world.infer(rows, due)
        return scores(*np.where(rows[:, 0] >= 60, 0.9, 0.25))

    def work(self, *batches: ShadowBatch) -> None:
        for each in batches:
            self.world.shadow.offer(replace(each, received=self.world.now))
        self.world.work()
        self.witnesses.now = self.world.now

    def turn(self) -> Seen:
        self.world.now += 5.0
        self.witnesses.now = self.world.now
        self.keeper.run_once(wait=0.0)
        return self.seen[-1]

    def stop(self) -> None:
        self.keeper.close()
        self.store.close()

    def _judge(self, seen: Seen) -> dict[str, object]:
        self.seen.append(seen)
        return {}


Start = Callable[[str], Life]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Start]:
    lives: list[Life] = []

    def begin(writer: str) -> Life:
        lives.append(Life(monkeypatch, tmp_path / "store.db", writer))
        return lives[-1]

    yield begin
    for life in lives:
        life.store.close()


def rows_of(seen: Seen, name: str = "all") -> float:
    return SHEET.column("rows", seen.books[Page(AGREEMENT, name)])


def test_what_is_compared_in_many_lives_adds_up(start: Start) -> None:
    first = start("a")
    first.work(batch("a", ages=[20, 70, 80], rows=3), batch("b", ages=[30, 61], rows=2))
    assert rows_of(first.turn()) == 5
    first.work(batch("c", ages=70))
    first.stop()
    second = start("b")
    second.work(batch("d", ages=[90, 20], rows=2))
    seen = second.turn()
    assert (rows_of(seen), rows_of(seen, "old")) == (8, 5)
    assert SHEET.column("flips/bad -> good", seen.books[Page(AGREEMENT, "all")]) == 5
    counts = dict(zip(OUTCOMES, seen.books[Page(OUTCOMES_BOOK, "all")], strict=True))
    assert {name: rows for name, rows in counts.items() if rows} == {"compared": 8}
    assert seen.books[Page(BINS, "score")][0] == 8
    assert sum(len(sums) > 0 for _, sums in seen.hours[Page(AGREEMENT, "all")]) == 1
    assert seen.store == "ok"


def test_rows_that_were_not_compared_are_binned_apart(start: Start) -> None:
    life = start("a")
    life.work(batch("a", ages=[20, POISON, 30], rows=3))
    seen = life.turn()
    assert life.world.outcomes == {"compared": 2, "candidate_error": 1}
    assert (seen.books[Page(BINS, "score")][0], seen.books[Page(LEFT_OUT, "score")][0]) == (2, 1)


def test_the_worst_cases_are_kept_with_both_models_reasons_over_lives(start: Start) -> None:
    first = start("a")
    first.work(*(batch(f"r{age}", ages=age) for age in (20, 61, 70, 25)))
    first.stop()
    second = start("b")
    second.turn()
    second.work(*(batch(f"s{age}", ages=age) for age in (20, 62)))
    seen = second.turn()
    worst = [case for case in seen.cases if case.kind == "worst"]
    assert [case.request_id for case in worst] == ["r61", "r70", "s62"]
    assert {case.document["candidate"]["label"] for case in worst} == {"good"}
    assert all(case.document["explanations"] for case in worst)
    samples = [case for case in seen.cases if case.kind == "sample" and case.slice == "all"]
    assert len(samples) == 2


def test_nothing_of_a_dropped_or_hashed_value_reaches_the_disk(start: Start, tmp_path: Path) -> None:
    life = start("a")
    life.work(*(batch(f"r{number}", ages=AGE, homes=1.0) for number in range(30)))
    assert len(life.turn().cases) > 3
    life.work(batch("again", ages=AGE, homes=1.0))
    life.stop()
    files = list(tmp_path.iterdir())
    written = b"".join(path.read_bytes() for path in files)
    assert b"dropped" in written
    assert b"hash:" in written
    secrets = [b"4711", b'"rent"', np.float32(AGE).tobytes(), np.float64(AGE).tobytes()]
    assert [secret for secret in secrets if secret in written] == []


def test_labels_meet_both_models_answers(start: Start) -> None:
    life = start("a")
    life.work(batch("a", ages=[20, 70], rows=2))
    life.turn()
    life.store.file([Given("a", ("bad", "good"), 1e9)])
    judge = Judge()
    life.store.join(lambda batches, learnt: {}, judge)
    (labelled,) = judge.seen
    assert labelled.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(labelled.after, scores(0.25, 0.9))
    np.testing.assert_array_equal(labelled.before, scores(0.25, 0.25))
    assert labelled.slices.tolist() == [0, 0b10]


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_every_rows_outcome_is_the_same_with_and_without_a_witness(
    monkeypatch: pytest.MonkeyPatch, seed: int, broken: bool
) -> None:
    plain = World(monkeypatch, queue_rows=200, batch_rows=7)
    scenario(plain, seed)
    watched = World(monkeypatch, queue_rows=200, batch_rows=7)
    world = WitnessWorld()
    if broken:
        world.bins.error = ZeroDivisionError()
        world.reasons().error = ZeroDivisionError()
    watched.shadow.witness = world.witness
    watched.shadow.slices = SLICES
    scenario(watched, seed)
    assert watched.outcomes == plain.outcomes
    drained = world.witness.drain(everything=True)
    compared = watched.outcomes["compared"]
    assert SHEET.column("rows", drained.books[Page(AGREEMENT, "all")]) == compared
    assert sum(len(each.before) for each in drained.answers) == compared
    if not broken:
        left_out = drained.books[Page(LEFT_OUT, "score")][0]
        assert drained.books[Page(BINS, "score")][0] == compared
        assert 0 < left_out <= sum(plain.outcomes.values()) - compared  # but for the canary's


def test_a_crash_in_a_candidates_regions_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    running: list[bool] = []

    def regions(rows: FeatureBatch, found: Scores) -> Region:
        running.append(world.account.shown("running")[-1])
        return np.ones((len(rows), 2), dtype=np.bool_)

    world.shadow.witness, world.shadow.slices = WitnessWorld(after_regions=regions).witness, SLICES
    world.offer(1, 2)
    world.work()
    assert running == [True]
    assert world.account.shown("running")[-1] is False


def test_cases_are_explained_while_there_is_nothing_to_compare(start: Start) -> None:
    life = start("a")
    life.witnesses.casebook.reasons = None
    life.work(batch("a", ages=70))
    life.witnesses.casebook.reasons = life.reasons  # the methods are ready now
    life.world.shadow.run_once(wait=0.0)
    assert life.reasons.asked == [70.0]


def test_production_is_run_again_beside_the_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    cpu = iter(range(1_000))
    itself = sheet(Pair(spec(), spec()), DISAGREEMENT)
    usual = world.answer_as_production
    repeats = Repeats(itself, (Variant("session", usual, 2),), usual, 1.0, cpu=lambda: float(next(cpu)))
    witness = WitnessWorld(repeats=repeats).witness
    world.shadow.witness, world.shadow.slices = witness, SLICES
    world.offer(1, 2, 3, 4)
    world.work()
    books = witness.drain().books
    assert itself.column("rows", books[Page(NOISE, "session")]) == 2
    assert books[Page(SPEED, "all")][:4].tolist() == [4, 1, 1.0, pytest.approx(0.004)]
