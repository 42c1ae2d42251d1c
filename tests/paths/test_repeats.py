"""Production is run again on a bounded share of rows, within the time there is."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.disagreement.measure import Pair
from service.domain.evidence.books import NOISE, SPEED, Page
from service.domain.evidence.measures import DISAGREEMENT
from service.domain.evidence.sheet import sheet
from service.domain.schema import FeatureBatch, Scores
from service.errors import DeadlineError
from service.paths.repeats import FIRST_ROWS, Repeats, Variant
from tests.domain.models import spec
from tests.paths.witnesses import scores, too_late

ITSELF = sheet(Pair(spec(), spec()), DISAGREEMENT)
ROWS = np.arange(30, dtype=np.float32).reshape(10, 3)
BEFORE = scores(*[0.25] * 10)
ALL = np.ones(10, np.bool_)


class Model:
    """Answers the same always; takes a second for each run."""

    def __init__(self) -> None:
        self.now = 100.0
        self.cpu = 0.0
        self.runs: list[list[float]] = []
        self.due: set[float] = set()

    def __call__(self, rows: FeatureBatch, due: float) -> Scores:
        self.runs.append(rows[:, 0].tolist())
        self.due.add(due)
        self.now += 1.0
        self.cpu += 0.25
        return scores(*[0.25] * len(rows))

    def repeats(self, *variants: Variant, rate: float = 1.0, seconds: float = 10.0) -> Repeats:
        return Repeats(ITSELF, variants, self, rate, seconds, clock=lambda: self.now, cpu=lambda: self.cpu)


def test_rows_are_run_again_as_many_as_each_way_may_and_alone_one_by_one() -> None:
    model = Model()
    ways = (Variant("session", model, rows=4), Variant("alone", model, rows=2, alone=True))
    books = model.repeats(*ways).run(ROWS, BEFORE, ALL, 1.0, 60.0)
    assert model.runs == [ROWS[:, 0].tolist(), [0, 3, 6, 9], [0], [3]]
    assert [books[Page(NOISE, name)][0] for name in ("session", "alone")] == [4, 2]
    assert ITSELF.column("gap/sum", books[Page(NOISE, "session")]) == 0.0
    assert books[Page(SPEED, "all")][:4].tolist() == [10, 1, 0.25, 1.0]


def test_only_what_production_answered_to_a_caller_is_noise() -> None:
    model = Model()
    asked = np.array([row % 2 == 1 for row in range(10)])
    model.repeats(Variant("session", model)).run(ROWS, BEFORE, asked, 1.0, 60.0)
    assert model.runs[1] == [3, 9, 15, 21, 27]
    model.repeats(Variant("session", model)).run(ROWS, BEFORE, ~ALL, 1.0, 60.0)
    assert len(model.runs) == 3  # for its seconds alone


def test_no_run_is_begun_after_the_time_is_over() -> None:
    model = Model()
    ways = [Variant(f"way {number}", model) for number in range(5)]
    books = model.repeats(*ways, seconds=2.5).run(ROWS, BEFORE, ALL, 1.0, 60.0)
    assert len(model.runs) == 3
    assert model.due == {102.5}
    assert {page.name for page in books if page.book == NOISE} == {"way 0", "way 1"}
    hurried = Model()
    hurried.repeats(*(Variant(way.name, hurried) for way in ways)).run(ROWS, BEFORE, ALL, 1.0, 1.0)
    assert hurried.due == {101.0}


def test_a_failing_production_is_told_to_the_caller() -> None:
    repeats = Model().repeats(Variant("session", too_late))
    with pytest.raises(DeadlineError):
        repeats.run(ROWS, BEFORE, ALL, 1.0, 60.0)


def shares(rate: float, batches: int) -> tuple[list[bool], list[bool]]:
    """Which batches are run again at first, and which once enough rows were."""
    model = Model()
    repeats = model.repeats(Variant("session", model), rate=rate)
    first = [repeats.wanted() for _ in range(batches)]
    for _ in range(FIRST_ROWS // len(ROWS)):
        repeats.run(ROWS, BEFORE, ALL, 1.0, 60.0)
    return first, [repeats.wanted() for _ in range(batches)]


def test_the_share_of_the_batches_is_the_configured_one_and_the_same_again() -> None:
    _, wanted = shares(0.1, 5_000)
    assert wanted == shares(0.1, 5_000)[1]
    assert abs(sum(wanted) - 500) < 4 * np.sqrt(5_000 * 0.1 * 0.9)
    assert not any(map(any, shares(0.0, 100)))
    assert all(map(all, shares(1.0, 100)))


def test_a_difference_is_soon_told_from_noise_however_little_is_run_again_later() -> None:
    first, later = shares(0.02, 1_000)
    assert sum(first) == pytest.approx(500, abs=60)
    assert sum(later) == pytest.approx(20, abs=18)
