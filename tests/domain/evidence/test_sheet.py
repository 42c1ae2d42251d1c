"""One vector for all measures: every column where its name says, every slice its own rows' sums."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from service.domain.disagreement.flips import Flips
from service.domain.disagreement.gap import Gap
from service.domain.disagreement.numeric_gap import NumericGap
from service.domain.evidence.measures import DISAGREEMENT, JUDGEMENT
from service.domain.evidence.sheet import Sheet, sheet
from tests.domain.disagreement.pairs import PAIRS, ROWS, posed, take

BOTH = (DISAGREEMENT, JUDGEMENT)
each_pair = pytest.mark.parametrize("name", PAIRS)
each_sheet = pytest.mark.parametrize("measures", BOTH, ids=["disagreement", "judgement"])

# Columns that the verdict and the page look up by name: their loss would be found in production only.
ALWAYS = """
rows gap/sum gap/signed gap/squares gap/capped gap/deviation gap/le:0 gap/le:1e-07 gap/le:0.001 gap/le:inf
tolerance/within rank/0,0 region_overlap/rows region_overlap/overlap region_overlap/same beyond/rows
beyond/beyond loss/production loss/candidate loss/difference loss/squares loss/deviation
"""
RELIED_ON = {
    "binary": "accuracy/both accuracy/production_only accuracy/candidate_only accuracy/neither kl/sum",
    "regression": "numeric_gap/absolute numeric_gap/relative numeric_gap/squares nearer/equal",
    "multiclass, costs": "total_variation/sum cost/production cost/candidate cost/difference",
}


def masks(seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    drawn = {f"part{index}": rng.random(ROWS) < share for index, share in enumerate((0.5, 0.1, 0.01))}
    return {"all": np.ones(ROWS, np.bool_), **drawn, "nobody": np.zeros(ROWS, np.bool_)}


@pytest.mark.parametrize("name", RELIED_ON)
def test_the_columns_that_others_look_up_are_there(name: str) -> None:
    both = [sheet(posed(name).pair, measures) for measures in BOTH]
    wanted = (ALWAYS + RELIED_ON[name]).split()
    assert [column for column in wanted if not any(one.has(column) for one in both)] == []


def test_flips_are_looked_up_by_the_classes_names() -> None:
    made = sheet(posed("binary").pair, DISAGREEMENT)
    assert made.columns[1:3] == ("flips/bad -> good", "flips/good -> bad")


@each_pair
@each_sheet
def test_each_column_is_found_by_its_name_alone(name: str, measures: tuple) -> None:
    made = sheet(posed(name).pair, measures)
    assert made.columns[0] == "rows"
    assert len(set(made.columns)) == len(made.columns)
    sums = np.arange(len(made.columns), dtype=np.float64)
    assert [made.column(column, sums) for column in made.columns] == sums.tolist()
    for measure in made.measures:
        names = [f"{measure.name}/{column}" for column in measure.columns(made.pair)]
        assert [made.columns[int(place)] for place in made.part(measure.name, sums)] == names


def test_a_column_that_the_pair_does_not_have_is_not_made_up() -> None:
    made = sheet(posed("regression").pair, DISAGREEMENT)
    assert not made.has("flips/bad -> good")
    with pytest.raises(KeyError):
        made.column("flips/bad -> good", made.empty())
    with pytest.raises(KeyError):
        made.part("flips", made.empty())


def test_measures_that_say_nothing_about_a_pair_are_left_out() -> None:
    made = sheet(posed("regression").pair, (Flips(), NumericGap(), Gap()))
    assert [measure.name for measure in made.measures] == ["numeric_gap", "gap"]
    assert set(made.show(made.empty())) == {"rows", "numeric_gap", "gap"}


@each_pair
@each_sheet
def test_each_slice_has_the_sums_of_its_own_rows(name: str, measures: tuple) -> None:
    given = posed(name)
    made = sheet(given.pair, measures)
    parts = masks()
    found = made.tally(given.compared, parts)
    assert list(found) == [part for part, mask in parts.items() if mask.any()]
    for part, sums in found.items():
        alone = made.contributions(take(given.compared, parts[part])).sum(axis=0)
        np.testing.assert_allclose(sums, alone, rtol=1e-12, atol=1e-12)
        assert made.column("rows", sums) == parts[part].sum()


@each_pair
def test_batches_add_up_to_the_whole(name: str) -> None:
    given = posed(name)
    made, parts = sheet(given.pair, DISAGREEMENT), masks()
    whole = made.tally(given.compared, parts)
    total = {part: made.empty() for part in whole}
    for start in range(0, ROWS, 37):
        rows = slice(start, start + 37)
        some = made.tally(take(given.compared, rows), {part: mask[rows] for part, mask in parts.items()})
        for part, sums in some.items():
            total[part] += sums
    for part, sums in whole.items():
        np.testing.assert_allclose(total[part], sums, rtol=1e-12, atol=1e-12)


@each_sheet
def test_no_rows_give_no_slice(measures: tuple) -> None:
    given = posed("binary").take(slice(0))
    made = sheet(given.pair, measures)
    assert made.tally(given.compared, {"all": np.zeros(0, np.bool_)}) == {}


def test_a_slice_without_masks_is_no_slice() -> None:
    given = posed("binary")
    assert sheet(given.pair, DISAGREEMENT).tally(given.compared, {}) == {}


@each_pair
@each_sheet
def test_what_is_shown_of_all_measures_is_ready_for_json(name: str, measures: tuple) -> None:
    given = posed(name)
    made = sheet(given.pair, measures)
    for sums in (made.empty(), *made.tally(given.compared, masks()).values()):
        shown = made.show(sums)
        assert shown["rows"] == sums[0]
        assert isinstance(shown["rows"], int)
        assert json.loads(json.dumps(shown, allow_nan=False)) == shown


def test_a_row_that_is_out_of_a_slice_adds_nothing_to_it_however_large_its_gap() -> None:
    given = posed("regression")
    after = given.compared.after.copy()
    after[0] = np.finfo(np.float32).max
    made = sheet(given.pair, DISAGREEMENT)
    inside = np.ones(ROWS, np.bool_)
    inside[0] = False
    found = made.tally(replace(given.compared, after=after), {"all": np.ones(ROWS, np.bool_), "rest": inside})
    plain = made.tally(given.compared, {"rest": inside})
    np.testing.assert_allclose(found["rest"], plain["rest"], rtol=1e-12)
    assert math.isfinite(found["all"].sum())


def test_a_sheet_of_production_beside_itself_has_the_columns_of_the_pair() -> None:
    """So that the noise floor can be held against what was compared, column by column."""
    pair = posed("binary, two thresholds, costs").pair
    itself: Sheet = sheet(replace(pair, candidate=pair.production), DISAGREEMENT)
    assert itself.columns == sheet(pair, DISAGREEMENT).columns
