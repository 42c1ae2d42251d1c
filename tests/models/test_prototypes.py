from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle
from models.prototypes import choose_criticisms, choose_prototypes, discrepancy, prototypes
from service.domain.schema import Feature, ModelSpec, Schema
from tests.domain import models
from tests.domain.test_distance import reference

PLANE = ModelSpec(
    "m", "1", "binary", Schema((Feature("x", "float"), Feature("y", "float")), "tensor"), ("no", "yes")
)
CENTRES = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], dtype=np.float64)


def clusters(seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(centre, 0.7, (40, 2)) for centre in CENTRES]).astype(np.float32)


def kernel(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    apart = np.abs(rows[:, None] - rows[None]).sum(axis=2)
    return np.asarray(np.exp(-apart / np.median(apart)))


def centre_of(record: dict[str, dict[str, float]]) -> int:
    at = np.array([record["data"]["x"], record["data"]["y"]])
    return int(np.abs(CENTRES - at).sum(axis=1).argmin())


@pytest.mark.parametrize("seed", range(5))
def test_every_cluster_gets_one_prototype_before_any_gets_a_second(seed: int) -> None:
    found = prototypes(PLANE, clusters(seed), count=8)["prototypes"]
    assert {centre_of(record) for record in found[:4]} == {0, 1, 2, 3}
    assert all(record["share"] > 0 for record in found)
    assert sum(record["share"] for record in found) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_outliers_become_criticisms(seed: int) -> None:
    outliers = np.array([[40, -30], [-35, 40], [60, 60]], dtype=np.float32)
    rows = np.concatenate([clusters(seed), outliers])
    document = prototypes(PLANE, rows, count=4, criticisms=3)
    found = {(record["data"]["x"], record["data"]["y"]) for record in document["criticisms"]}
    assert found == {tuple(row) for row in outliers.tolist()}
    assert all(record["distance"] > 2 for record in document["criticisms"])


def test_criticisms_differ_from_prototypes_and_from_each_other() -> None:
    rows = np.concatenate([clusters(0), np.full((6, 2), 50, dtype=np.float32)])
    similar = kernel(rows.astype(np.float64))
    chosen = choose_prototypes(similar, 4)
    critics = choose_criticisms(similar, chosen, 5)
    assert not set(critics) & set(chosen)
    assert sum(index >= 160 for index in critics) == 1, "six times the same outlier is one criticism"


def test_each_prototype_is_the_one_that_leaves_the_least_discrepancy() -> None:
    similar = kernel(np.random.default_rng(3).normal(size=(30, 2)))
    chosen = choose_prototypes(similar, 5)
    for size in range(1, 6):
        left = [
            discrepancy(similar, [*chosen[: size - 1], other])
            for other in range(30)
            if other not in chosen[: size - 1]
        ]
        assert discrepancy(similar, chosen[:size]) == pytest.approx(min(left), abs=1e-12)


def test_greedy_is_nearly_as_good_as_trying_every_choice() -> None:
    similar = kernel(np.random.default_rng(4).normal(size=(20, 2)))
    best = min(discrepancy(similar, list(some)) for some in combinations(range(20), 3))
    assert discrepancy(similar, choose_prototypes(similar, 3)) <= 1.5 * best


def test_the_log_determinant_decides_between_equal_witnesses() -> None:
    rows = np.array([[0.0, 0]] * 20 + [[30, 0], [30.1, 0], [0, 30]])
    similar = kernel(rows + np.random.default_rng(0).normal(0, 0.01, rows.shape))
    critics = choose_criticisms(similar, choose_prototypes(similar, 1), 2)
    assert len(set(critics) & {20, 21}) == 1
    assert 22 in critics


def test_the_document_is_json_in_the_callers_words_and_always_the_same() -> None:
    rows, spec = reference(80), models.spec()
    outcomes = np.random.default_rng(0).integers(2, size=80)
    document = prototypes(spec, rows, outcomes)
    assert json.loads(json.dumps(document, allow_nan=False)) == document == prototypes(spec, rows, outcomes)
    assert len(document["prototypes"]) == len(document["criticisms"]) == 5
    for record in [*document["prototypes"], *document["criticisms"]]:
        assert record["data"]["home"] in {*models.HOMES, None}
        same = [index for index, row in enumerate(rows) if np.float32(record["data"]["age"]) == row[0]]
        assert record["label"] in {spec.classes[outcomes[index]] for index in same}


def test_few_or_equal_rows_give_what_there_is() -> None:
    one = np.ones((1, 2), dtype=np.float32)
    assert len(prototypes(PLANE, one)["prototypes"]) == 1
    assert prototypes(PLANE, one)["criticisms"] == []
    equal = prototypes(PLANE, np.ones((4, 2), dtype=np.float32), count=2)
    assert equal["discrepancy"] == pytest.approx(0, abs=1e-12)
    assert len(equal["criticisms"]) == 2


def test_many_rows_are_thinned_evenly() -> None:
    rows = np.random.default_rng(0).normal(size=(2500, 2)).astype(np.float32)
    assert prototypes(PLANE, rows, count=2, criticisms=1)["rows"] == 1000


def test_a_regressions_rows_carry_their_values(demo_bundle: Callable[[str], Bundle]) -> None:
    bundle = demo_bundle("diabetes:gbr-1")
    rows, _, values = bundle.calibration()
    document = prototypes(bundle.spec, rows, values)
    assert {record["value"] for record in document["prototypes"]} <= set(values.tolist())
