"""Binning: every value has one bin, the reference rows are in theirs, and names tell bins apart."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from models.bundle import Bundle
from models.reference import cut_points
from service.adapters.bundles import binning_of
from service.adapters.onnx import OnnxModel
from service.domain.binning import (
    MOST_BINS,
    MOST_ORDERED,
    MOST_SCORES,
    MOST_VARIABLES,
    Binning,
    Cut,
    labels,
    numbers,
    percentiles,
    words,
)
from service.domain.uncertainty.measure import Asked
from service.domain.uncertainty.percentile import Domain
from service.domain.variables import answer_columns, variable_columns

AGE = numbers("feature:age", (10, 20, 30), 4, (25.5, 40.0), 18.0, 90.0)
HOME = words("feature:home", (5, 0, 50), 2, ("owner", "rent", "parents"))
NAN = float("nan")


def bins_of(cut: Cut, *values: float) -> list[str]:
    """The names of the bins of some values."""
    return [cut.variable.names[code] for code in cut.codes(np.array(values)).tolist()]


def test_numbers_have_bins_below_between_and_above_the_reference_data() -> None:
    assert AGE.variable.names == (
        "00 below 18", "01 18 to 25.5", "02 25.5 to 40", "03 40 to 90", "04 above 90", "missing",
    )  # fmt: skip
    assert AGE.variable.reference == (0, 10, 20, 30, 0, 4)
    assert (AGE.variable.ordered, AGE.variable.missing, AGE.variable.strange) == (5, 5, (0, 4))
    found = bins_of(AGE, -np.inf, 17.9, 18, 25.4, 25.5, 40, 90, 90.0001, np.inf, NAN)
    places = [0, 0, 1, 1, 2, 3, 3, 4, 4, 5]
    assert found == [AGE.variable.names[place] for place in places]


def test_a_value_that_rounding_moves_beyond_an_end_is_still_there() -> None:
    cut = numbers("score", (20, 10), 0, (0.5,), 0.25, 0.75, slack=1e-6)
    assert cut.variable == numbers("score", (20, 10), 0, (0.5,), 0.25, 0.75).variable
    assert bins_of(cut, 0.25 - 9e-7, 0.75 + 9e-7) == ["01 0.25 to 0.5", "02 0.5 to 0.75"]
    assert bins_of(cut, 0.25 - 2e-6, 0.75 + 2e-6) == ["00 below 0.25", "03 above 0.75"]


def test_words_have_a_bin_each_and_those_the_reference_data_never_had_are_unseen() -> None:
    assert HOME.variable.names == ("is owner", "is parents", "missing", "unseen")
    assert HOME.variable.reference == (5, 50, 2, 0)
    assert (HOME.variable.ordered, HOME.variable.missing, HOME.variable.strange) == (0, 2, (3,))
    assert bins_of(HOME, 0, 1, 2, NAN) == ["is owner", "unseen", "is parents", "missing"]


def test_a_class_that_was_never_answered_is_not_unseen() -> None:
    cut = labels(("bad", "good", "odd"), (3, 7, 0))
    assert cut.variable.name == "label"
    assert cut.variable.names == ("is bad", "is good", "is odd", "missing", "unseen")
    assert cut.variable.reference == (3, 7, 0, 0, 0)
    assert bins_of(cut, 0, 1, 2) == ["is bad", "is good", "is odd"]


def test_values_of_a_variable_that_was_always_missing_are_unseen() -> None:
    cut = numbers("feature:x", (0,), 9, (), None, None)
    assert cut.variable.names == ("missing", "unseen")
    assert cut.variable.reference == (9, 0)
    assert (cut.variable.ordered, cut.variable.missing, cut.variable.strange) == (0, 0, (1,))
    assert bins_of(cut, NAN, 0, -np.inf, np.inf) == ["missing", "unseen", "unseen", "unseen"]


def test_a_variable_that_never_varied_has_one_bin_between_below_and_above() -> None:
    cut = numbers("feature:x", (9,), 0, (), 5.0, 5.0)
    assert cut.variable.names == ("00 below 5", "01 5 to 5", "02 above 5", "missing")
    assert bins_of(cut, 4.9, 5, 5.1) == ["00 below 5", "01 5 to 5", "02 above 5"]


def test_no_words_at_all_are_no_trouble() -> None:
    cut = words("feature:x", (0, 0), 3, ("a", "b"))
    assert cut.variable.names == ("missing", "unseen")
    assert bins_of(cut, 0, 1, NAN) == ["unseen", "unseen", "missing"]


def test_the_rarest_words_share_a_bin_where_there_are_too_many() -> None:
    vocabulary = tuple(f"w{number}" for number in range(2_000))
    counts = tuple(0 if number == 9 else 1_000 if number % 50 == 7 else 1 for number in range(2_000))
    cut = words("feature:zip", counts, 4, vocabulary)
    variable = cut.variable
    assert len(variable.names) == len(variable.reference) == MOST_BINS
    assert variable.names[-3:] == ("other words", "missing", "unseen")
    assert variable.reference.count(1_000) == 40
    assert variable.reference[-3:] == (1_999 - 47, 4, 0)
    assert bins_of(cut, 7, 57, 1_999, 9, NAN) == ["is w7", "is w57", "other words", "unseen", "missing"]
    assert len({*variable.names}) == MOST_BINS


def test_words_keep_their_order_however_often_they_are() -> None:
    counts = [place * 37 % 100 + 1 for place in range(99)]
    kept = words("feature:zip", counts, 0, [f"{place:02}" for place in range(99)]).variable.names[:-3]
    assert list(kept) == sorted(kept)


def test_words_that_just_fit_have_a_bin_each() -> None:
    fits = words("feature:zip", (1,) * (MOST_BINS - 2), 0, tuple(map(str, range(MOST_BINS - 2))))
    assert "other words" not in fits.variable.names
    assert len(fits.variable.names) == MOST_BINS


@pytest.mark.parametrize("bins", [MOST_ORDERED - 2, MOST_ORDERED - 1, 40, 257])
def test_neighbours_are_one_bin_where_a_bundle_has_too_many(bins: int) -> None:
    values = np.random.default_rng(bins).normal(size=20_000)
    edges = cut_points(values, bins)
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=bins)
    cut = numbers("score", counts.tolist(), 0, edges, float(values.min()), float(values.max()))
    variable = cut.variable
    assert variable.ordered == MOST_ORDERED
    assert variable.names[-2].startswith(f"{MOST_ORDERED - 1} above ")
    found = np.bincount(cut.codes(values), minlength=MOST_ORDERED + 1)
    assert found.tolist() == list(variable.reference)
    inner = np.array(variable.reference[1:-2])
    assert inner.min() > 0
    assert inner.max() < 2.2 * inner.min()


def test_percentiles_are_counted_as_the_measure_of_the_domain_counts_them() -> None:
    scores = np.sort(np.random.default_rng(3).integers(0, 40, 137).astype(np.float64))  # many of them tie
    cut = percentiles(scores)
    domain = Domain(lambda asked: asked.rows[:, 0].astype(np.float64), scores, 1.0)
    own = domain.columns(Asked(scores[:, None], np.zeros((137, 2), np.float32)))["domain_percentile"]
    assert np.bincount(cut.codes(own), minlength=11).tolist() == list(cut.variable.reference)
    assert cut.variable.names[0] == "00 0 to 10"
    assert bins_of(cut, 0, 9.99, 10, 90, 100, NAN) == [
        "00 0 to 10", "00 0 to 10", "01 10 to 20", "09 90 to 100", "09 90 to 100", "missing",
    ]  # fmt: skip
    assert cut.variable.strange == ()


def test_bins_are_called_by_their_ends_as_briefly_as_tells_them_apart() -> None:
    close = numbers("x", (1, 1, 1), 0, (1_000_000.5, 1_000_001.5), -0.0, 2e6).variable.names
    assert close[:4] == ("00 below 0", "01 0 to 1000000", "02 1000000 to 1000002", "03 1000002 to 2000000")
    above = float(np.nextafter(0.1, 1))
    neighbours = numbers("x", (1, 1), 0, (above,), 0.1, above).variable.names
    assert len(set(neighbours)) == 5
    assert neighbours[2] == f"02 {above!r} to {above!r}"


@given(
    some.lists(some.floats(-1e6, 1e6, width=32), min_size=1, max_size=60),
    some.lists(some.floats(width=32), max_size=30),
    some.integers(2, 30),
)
def test_every_value_has_one_bin_and_names_never_collide(
    known: list[float], asked: list[float], bins: int
) -> None:
    values = np.array(known, np.float32)
    edges = cut_points(values, bins)
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    cut = numbers("x", counts.tolist(), 0, edges, float(values.min()), float(values.max()))
    names = cut.variable.names
    assert len(set(names)) == len(names) == len(cut.variable.reference) <= MOST_ORDERED + 1
    assert all(re.match(r"[01][0-9] ", name) for name in names[: cut.variable.ordered])
    assert np.bincount(cut.codes(values), minlength=len(names)).tolist() == list(cut.variable.reference)
    found = cut.codes(np.array(asked, np.float32))
    for value, code in zip(asked, found.tolist(), strict=True):
        if np.isnan(value):
            assert code == cut.variable.missing
        elif value < values.min():
            assert code == 0
        elif value > values.max():
            assert code == cut.variable.ordered - 1
        else:
            assert 0 < code < cut.variable.ordered - 1


def test_only_bins_in_order_have_names_that_begin_with_two_digits() -> None:
    cut = words("feature:x", (1, 1), 0, ("00 below 3", "17 years"))
    assert cut.variable.names[:2] == ("is 00 below 3", "is 17 years")


def test_variables_come_as_scores_label_domain_and_features() -> None:
    cuts = [AGE, percentiles(np.arange(20.0)), HOME, labels(("a", "b"), (1, 1)), _even("score")]
    names = [each.name for each in Binning.of(cuts).variables]
    assert names == ["score", "label", "domain", "feature:age", "feature:home"]


def test_no_more_is_watched_than_is_allowed_and_scores_leave_room_for_inputs() -> None:
    many = [_even(f"score:{number}") for number in range(1_000)]
    cuts = [*(_even(f"feature:{number}") for number in range(500)), *many, labels(("a",), (1,))]
    names = [each.name for each in Binning.of(cuts).variables]
    assert len(names) == MOST_VARIABLES
    assert names[MOST_SCORES - 1 : MOST_SCORES + 2] == [f"score:{MOST_SCORES - 1}", "label", "feature:0"]


def test_counts_are_of_all_variables_one_after_the_other() -> None:
    binning = Binning.of([AGE, HOME, _even("score")])
    counts = binning.counts(
        {
            "feature:age": np.array([18, 18, 95, NAN], np.float32),
            "score": np.array([0.1, 0.9, 0.9, 2.0], np.float32),
            "feature:unknown": np.zeros(4),
        }
    )
    assert counts.dtype == np.float64
    assert binning.starts.tolist() == [0, 5, 11, 15]
    score, age, home = binning.split(counts)
    assert score.tolist() == [0, 1, 2, 1, 0]
    assert age.tolist() == [0, 2, 0, 0, 1, 1]
    assert home.tolist() == [0, 0, 0, 0]  # it had no column


def test_counts_of_parts_add_up_and_no_rows_are_none() -> None:
    rng, binning = np.random.default_rng(1), Binning.of([AGE, HOME])
    columns = {"feature:age": rng.uniform(0, 120, 500), "feature:home": rng.integers(0, 3, 500).astype(float)}
    parts = [
        {name: values[part] for name, values in columns.items()} for part in (slice(200), slice(200, 500))
    ]
    whole = binning.counts(columns)
    assert (binning.counts(parts[0]) + binning.counts(parts[1])).tolist() == whole.tolist()
    assert not binning.counts({name: values[:0] for name, values in columns.items()}).any()


def test_codes_number_the_bins_of_all_variables() -> None:
    binning = Binning.of([AGE, HOME])
    columns = {"feature:home": np.array([0, 2.0]), "feature:age": np.array([18, NAN])}
    assert binning.codes(columns).tolist() == [[1, 5], [6, 7]]
    with pytest.raises(KeyError):
        binning.codes({"feature:age": np.zeros(2)})


def test_nothing_to_watch_is_no_trouble() -> None:
    nothing = Binning.of([])
    assert nothing.size == 0
    assert nothing.counts({"score": np.zeros(3)}).shape == (0,)
    assert nothing.codes({}).size == 0


def test_a_digest_tells_bins_and_reference_rows_apart() -> None:
    same = numbers("feature:age", (10, 20, 30), 4, (25.5, 40.0), 18.0, 90.0)
    moved = numbers("feature:age", (10, 20, 30), 4, (25.5000001, 40.0), 18.0, 90.0)
    grown = numbers("feature:age", (10, 20, 31), 4, (25.5, 40.0), 18.0, 90.0)
    assert moved.variable == AGE.variable  # the names do not tell
    digests = [Binning.of([each]).digest for each in (AGE, same, moved, grown, HOME)]
    assert digests[0] == digests[1]
    assert len({*digests}) == 4
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in digests)


def test_a_digest_tells_which_words_are_rare_and_which_never_were() -> None:
    vocabulary = [f"w{place}" for place in range(60)]
    one, other = ([*[5] * 50, *ends, *[1] * 8] for ends in ([0, 1], [1, 0]))
    cuts = [words("feature:zip", counts, 0, vocabulary) for counts in (one, other)]
    assert cuts[0].variable == cuts[1].variable
    assert Binning.of(cuts[:1]).digest != Binning.of(cuts[1:]).digest


def test_a_variable_can_be_left_out() -> None:
    assert Binning.of([AGE, HOME]).without("feature:age").variables == (HOME.variable,)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("tag", ["cancer:forest-1", "cancer:xgb-1"])
def test_scores_stay_in_their_bins_however_many_threads_add_them_up(
    demo_bundle: Callable[[str], Bundle], tag: str, threads: int
) -> None:
    """Many rows of a forest have its least score, or its largest, of which threads change the last digit."""
    bundle = demo_bundle(tag)
    rows, scores, _ = bundle.calibration()
    model = OnnxModel(
        bundle.model_path, bundle.spec, bundle.binding, providers=("CPUExecutionProvider",), threads=threads
    )
    binning = binning_of(bundle)
    found = binning.counts(dict(answer_columns(bundle.spec, model.predict(rows))))
    assert found.tolist() == binning.counts(dict(answer_columns(bundle.spec, scores))).tolist()


@pytest.mark.parametrize("tag", ["credit:gbm-1", "credit:linear-1", "digits:mlp-1", "diabetes:gbr-1"])
def test_a_demo_s_reference_rows_are_those_of_its_bins(
    demo_bundle: Callable[[str], Bundle], tag: str
) -> None:
    bundle = demo_bundle(tag)
    binning = binning_of(bundle)
    rows, scores, _ = bundle.calibration()
    counts = binning.split(
        binning.counts(dict([*answer_columns(bundle.spec, scores), *variable_columns(bundle.spec, rows)]))
    )
    for variable, found in zip(binning.variables, counts, strict=True):
        if variable.name.startswith(("score", "label")):
            assert found.tolist() == list(variable.reference)
        else:
            assert sum(variable.reference) >= len(rows)
        assert sum(variable.reference[place] for place in variable.strange) == 0


def _even(name: str) -> Cut:
    return numbers(name, (5, 5), 0, (0.5,), 0.0, 1.0)
