"""Comparing recorded drift with the measures finds what is wrong, and takes bins for what they are."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from load_tests.prometheus import Labels, Points, shortened
from load_tests.recorded import Difference, differences, sample
from service.domain.drift.measures import MEASURES

REFERENCE = {"00 below 1": 5.0, "01 1 to 2": 60.0, "02 above 2": 40.0, "missing": 10.0}
LIVE = {"00 below 1": 7.0, "01 1 to 2": 30.0, "02 above 2": 40.0, "missing": 1.0}
VARIABLE = {"model": "m", "version": "1", "variable": "score"}
ROLE = {**VARIABLE, "role": "production"}


def labels(of: Mapping[str, str], **more: str) -> Labels:
    return frozenset({**of, **more}.items())


class Recorded:
    """A Prometheus that recorded the drift of one variable at two instants."""

    def __init__(self) -> None:
        self.series: dict[str, dict[Labels, Points]] = {
            "understudy:distribution_rows:increase1h": {
                labels(ROLE, bin=name): [(10.0, rows), (20.0, 2 * rows)] for name, rows in LIVE.items()
            }
        }
        for measure in MEASURES:
            values = [measure.value(sample(REFERENCE, self.live(times))) for times in (1, 2)]
            points = [(10.0 * (place + 1), value) for place, value in enumerate(values) if value is not None]
            self.series[f"understudy:drift_{measure.name}:1h"] = {labels(ROLE): points}

    def live(self, times: int) -> dict[str, float]:
        return {name: times * rows for name, rows in LIVE.items()}

    def instant(self, query: str) -> dict[Labels, float]:
        assert query == "understudy:reference_rows"
        return {labels(VARIABLE, bin=name): rows for name, rows in REFERENCE.items()}

    def recorded(self, selector: str, seconds: float) -> dict[Labels, Points]:
        return self.series.get(selector, {})


def psi(found: Recorded) -> Difference:
    return next(each for each in differences(found, "1h", 60) if each.measure == "psi")


def test_what_is_right_has_no_difference() -> None:
    assert differences(Recorded(), "1h", 60) == [Difference(each.name, 2, 0.0) for each in MEASURES]


def test_a_wrong_value_is_found_with_its_relative_size() -> None:
    found = Recorded()
    points = found.series["understudy:drift_psi:1h"][labels(ROLE)]
    points[0] = (points[0][0], points[0][1] * 1.001)
    assert psi(found).largest == pytest.approx(0.001)


def test_a_value_that_lacks_is_found() -> None:
    found = Recorded()
    del found.series["understudy:drift_psi:1h"][labels(ROLE)][0]
    assert math.isinf(psi(found).largest)


def test_a_value_that_is_too_many_is_found() -> None:
    found = Recorded()
    extra = labels({**ROLE, "role": "candidate"})
    found.series["understudy:drift_psi:1h"][extra] = [(10.0, 0.0)]
    assert math.isinf(psi(found).largest)


def test_what_is_being_evaluated_is_not_waited_for() -> None:
    found = Recorded()
    found.series["understudy:drift_psi:1h"][labels(ROLE)].pop()
    assert psi(found) == Difference("psi", 1, 0.0)


def test_where_nothing_was_recorded_nothing_was_compared() -> None:
    found = Recorded()
    found.series["understudy:drift_psi:1h"].clear()
    assert psi(found).values == 0


def test_bins_are_told_by_their_names() -> None:
    numbers = sample(REFERENCE, LIVE)
    assert (numbers.ordered, numbers.missing, numbers.strange) == (3, 3, (0, 2))
    words = sample({"is 10 below par": 3.0, "missing": 1.0, "unseen": 0.0}, {"is other": 2.0})
    assert words.ordered == 0
    assert words.reference.tolist() == [3.0, 0.0, 1.0, 0.0]
    assert words.live.tolist() == [0.0, 2.0, 0.0, 0.0]
    assert (words.missing, words.strange) == (2, (3,))


def test_windows_are_shortened_in_expressions_and_stay_in_names() -> None:
    rule = {"record": "understudy:x:1h", "expr": 'rate(x{bin=~"[01].*"}[1h]) + y offset 6h'}
    (group,) = shortened([{"name": "g", "interval": "2m", "rules": [rule]}], {"1h": "5s", "6h": "9s"}, "1s")
    assert group["interval"] == "1s"
    expected = 'rate(x{bin=~"[01].*"}[5s]) + y offset 9s'
    assert group["rules"] == [{"record": "understudy:x:1h", "expr": expected}]
