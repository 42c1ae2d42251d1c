"""What every measure of drift promises, whatever the two samples are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from service.domain.drift.measure import Measure, Sample
from service.domain.drift.measures import MEASURES
from tests.domain.drift.oracles import ORACLES
from tests.domain.drift.samples import NAMED, ordered, words

each_measure = pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
each_sample = pytest.mark.parametrize("name", NAMED)

DEVIATES = {"psi_z", "chi_square_z"}
SYMMETRIC = {each.name for each in MEASURES} - {"missing_share", "unseen_share"}
OF_ORDER = {"ks", "ks_p", "wasserstein"}
OF_SHARES = {"ks", "wasserstein", "missing_share", "unseen_share"}
"""Those of plain shares, which do not know how many rows there are."""
SURER = {"psi_z": 1.0, "chi_square_z": 1.0, "ks_p": -1.0}
"""Those that more rows with the same shares make surer, and which way."""
BOUNDS = {
    "psi": (0.0, math.inf),
    "psi_excess": (-math.inf, math.inf),
    "psi_z": (-math.inf, math.inf),
    "jensen_shannon": (0.0, 1.0),
    "ks": (0.0, 1.0),
    "ks_p": (0.0, 1.0),
    "wasserstein": (0.0, 20.0),
    "chi_square_z": (-math.inf, math.inf),
    "missing_share": (0.0, 1.0),
    "unseen_share": (0.0, 1.0),
}


def rearranged(sample: Sample, order: np.ndarray) -> Sample:
    """The same words in another order; ``order`` says which bin comes where."""
    place = {int(old): new for new, old in enumerate(order)}
    return Sample(
        sample.reference[order],
        sample.live[order],
        0,
        place[sample.missing],
        tuple(place[each] for each in sample.strange),
    )


def times(sample: Sample, factor: float) -> Sample:
    return replace(sample, reference=sample.reference * factor, live=sample.live * factor)


def at_random(seed: int, count: int = 40) -> Iterator[Sample]:
    """Samples of 2 to 30 bins, many of them empty, of few rows and many."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        size = int(rng.integers(4, 31))
        reference, live = (
            rng.poisson(rng.choice([0, 1, 30, 3_000], size) * rng.random(size)).astype(float)
            for _ in range(2)
        )
        reference[1] += 1
        live[rng.integers(size)] += 1
        yield (ordered if rng.random() < 0.5 else words)(reference.tolist(), live.tolist())


def nearly(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return one == pytest.approx(other, rel=1e-9, abs=1e-12)


def test_every_measure_has_a_name_of_its_own_a_unit_and_an_oracle() -> None:
    names = [each.name for each in MEASURES]
    assert len(set(names)) == len(names)
    assert set(names) == ORACLES.keys() == BOUNDS.keys()
    assert all(each.unit for each in MEASURES)


def agrees(measure: Measure, sample: Sample) -> bool:
    found, expected = measure.value(sample), ORACLES[measure.name](sample)
    if measure.name in DEVIATES and expected is not None and found is not None:
        if not -1 <= expected <= 3:  # where the approximation is not meant to be exact, it says less
            return found < -0.9 if expected < -1 else min(expected, 8.0) - 1.3 < found < expected + 0.1
        return abs(found - expected) < 0.1
    return nearly(found, expected)


@each_measure
@each_sample
def test_a_value_is_what_single_rows_say(measure: Measure, name: str) -> None:
    assert agrees(measure, NAMED[name])


@each_measure
@pytest.mark.parametrize("seed", range(3))
def test_a_value_is_what_single_rows_say_of_any_sample(measure: Measure, seed: int) -> None:
    assert all(agrees(measure, sample) for sample in at_random(seed))


@each_measure
def test_a_value_is_a_finite_number_within_its_bounds(measure: Measure) -> None:
    low, high = BOUNDS[measure.name]
    for sample in (*NAMED.values(), *at_random(7, 200)):
        found = measure.value(sample)
        assert found is None or (type(found) is float and math.isfinite(found) and low <= found <= high)


@each_measure
@each_sample
def test_nothing_is_said_only_of_what_has_no_order(measure: Measure, name: str) -> None:
    sample = NAMED[name]
    rows = [side[: sample.ordered].sum() for side in (sample.reference, sample.live)]
    assert (measure.value(sample) is None) == (measure.name in OF_ORDER and not all(rows))


@each_measure
@each_sample
def test_the_samples_may_be_swapped(measure: Measure, name: str) -> None:
    sample = NAMED[name]
    swapped = replace(sample, reference=sample.live, live=sample.reference)
    if measure.name in SYMMETRIC:
        assert nearly(measure.value(sample), measure.value(swapped))
    elif name in ("words", "moved"):
        assert not nearly(measure.value(sample), measure.value(swapped))


@each_measure
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_words_does_not_matter(measure: Measure, seed: int) -> None:
    sample = NAMED["words"]
    order = np.random.default_rng(seed).permutation(len(sample.live))
    assert nearly(measure.value(rearranged(sample, order)), measure.value(sample))


@each_measure
@each_sample
def test_a_bin_that_neither_sample_has_changes_nothing(measure: Measure, name: str) -> None:
    sample = NAMED[name]
    more = replace(
        sample,
        reference=np.append(sample.reference, [0.0, 0.0]),
        live=np.append(sample.live, [0.0, 0.0]),
    )
    assert nearly(measure.value(more), measure.value(sample))


@each_measure
@each_sample
def test_equal_shares_show_no_change(measure: Measure, name: str) -> None:
    sample = replace(NAMED[name], live=NAMED[name].reference * 3)
    found = measure.value(sample)
    if measure.name == "missing_share":
        assert found == pytest.approx(sample.reference[sample.missing] / sample.reference.sum())
    elif measure.name == "ks_p":
        assert found in (1.0, None)
    elif measure.name in DEVIATES | {"psi_excess"}:
        assert found is not None
        assert found <= 0
    elif found is not None:
        assert found == pytest.approx(0, abs=2e-3)  # half a row more is a change of some thousandths


@each_measure
@pytest.mark.parametrize("name", ["moved", "words", "two classes"])
def test_more_rows_of_the_same_shares_make_surer_and_no_larger(measure: Measure, name: str) -> None:
    none_empty = replace(NAMED[name], reference=NAMED[name].reference + 1, live=NAMED[name].live + 1)
    sample = times(none_empty, 1_000)
    more = times(sample, 10)
    before, after = measure.value(sample), measure.value(more)
    if before is None or after is None:
        assert before is after
    elif measure.name in OF_SHARES:
        assert nearly(before, after)
    elif measure.name in SURER:
        assert after == before == 0 or after * SURER[measure.name] > before * SURER[measure.name]
    else:
        assert after == pytest.approx(before, rel=1e-2)


@each_measure
def test_looking_again_says_the_same(measure: Measure) -> None:
    sample = NAMED["moved"]
    reference, live = sample.reference.copy(), sample.live.copy()
    found = measure.value(sample)
    assert measure.value(sample) == found
    assert sample.reference.tolist() == reference.tolist()
    assert sample.live.tolist() == live.tolist()
