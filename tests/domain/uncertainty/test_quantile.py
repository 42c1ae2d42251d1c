from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from load_tests.conformal_oracles import mapie_quantile_intervals
from service.domain.schema import FeatureBatch
from service.domain.uncertainty.measure import Asked, Graph, Material, Unfitting
from service.domain.uncertainty.quantile import QUANTILE
from tests.domain.uncertainty.shams import VALUES, noise, served, values


def material(count: int = 500, seed: int = 0) -> Material:
    return VALUES["values and graphs"](count, seed)


def intervals(known: Material, new: Material, confidence: float) -> NDArray[np.float64]:
    region = QUANTILE.restore(known.spec, QUANTILE.fit(known).arrays)
    return region.columns(Asked(new.rows, new.scores, confidence, run=new.run))["interval"]


@pytest.mark.parametrize("confidence", [0.7, 0.8, 0.9, 0.95])
def test_intervals_are_those_of_mapie(confidence: float) -> None:
    known, new = material(203), material(400, 5)
    graphs = [each.run("quantiles", each.rows).astype(np.float64) for each in (known, new)]
    theirs = mapie_quantile_intervals(graphs[0], known.labels, graphs[1], confidence)
    np.testing.assert_allclose(intervals(known, new, confidence), theirs, rtol=1e-12)


def test_quantiles_that_are_too_narrow_are_widened_by_one_amount_for_all_rows() -> None:
    known, new = material(), material(200, 5)
    found = intervals(known, new, 0.9)
    graph = new.run("quantiles", new.rows)
    moved = found - graph
    assert moved[:, 1] == pytest.approx(-moved[:, 0], abs=1e-6)
    assert np.ptp(moved[:, 1]) < 1e-6
    low, high = known.run("quantiles", known.rows).T
    outside = np.maximum(low - known.labels, known.labels - high)
    assert moved[0, 1] == pytest.approx(np.sort(outside)[451 - 1], abs=1e-6)  # 0.9 of 501


def test_intervals_follow_the_quantiles_and_are_narrow_where_there_is_little_noise() -> None:
    new = material(500, 5)
    widths = np.diff(intervals(material(), new, 0.8), axis=1)[:, 0]
    order = np.argsort(noise(new.rows))
    assert (np.diff(widths[order]) > -1e-6).all()


def test_quantiles_in_the_wrong_order_are_put_in_the_right_one() -> None:
    def crossed(graph: Graph, rows: FeatureBatch) -> NDArray[np.floating[Any]]:
        return material().run(graph, rows)[:, ::-1]

    known, new = material(), material(200, 5)
    swapped = [replace(each, run=crossed) for each in (known, new)]
    np.testing.assert_array_equal(intervals(*swapped, 0.9), intervals(known, new, 0.9))


def test_quantiles_that_are_far_too_wide_are_narrowed_to_their_middle_and_no_further() -> None:
    def wide(_: Graph, rows: FeatureBatch) -> NDArray[np.floating[Any]]:
        half = np.where(rows[:, :1] > 0.5, 90.0, 100.0)
        return served(rows)[:, None] + half * np.array([-1, 1])

    known, new = (replace(each, run=wide) for each in (material(), material(400, 5)))
    found = intervals(known, new, 0.5)
    assert (found[:, 0] <= found[:, 1]).all()
    covered = (found[:, 0] <= new.labels) & (new.labels <= found[:, 1])
    assert covered.mean() > 0.4
    narrow = found[:, 0] == found[:, 1]
    assert narrow.any()
    assert found[narrow, 0] == pytest.approx(served(new.rows)[narrow])


def test_a_bundle_without_a_graph_of_quantiles_is_declined() -> None:
    with pytest.raises(Unfitting, match="no graph of quantiles"):
        QUANTILE.fit(values(100, 0))
