"""Every row that arrives is counted once, in the bins of its values, whatever else happens."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from service.domain.drift.slots import ModelKey
from service.domain.observation import ShadowBatch
from service.domain.schema import Scores
from service.paths.distributions import BATCH_BYTES, BATCH_ROWS, Arrivals, Distributions
from tests.domain.models import spec
from tests.paths.counting import MODEL, FakeBins
from tests.paths.shadows import FakeAccount, origin_of

BINS = ("score", "label", "domain", "feature:age", "feature:income")


class FakeLooks:
    def __init__(self) -> None:
        self.rows = 0

    def offer(self, rows: np.ndarray) -> None:
        self.rows += len(rows)


@pytest.fixture
def bins() -> FakeBins:
    return FakeBins(*BINS)


@pytest.fixture
def account() -> FakeAccount:
    return FakeAccount()


@pytest.fixture
def counted(bins: FakeBins, account: FakeAccount) -> Distributions:
    return Distributions(MODEL, spec(), bins, np.zeros(2 * len(BINS) + 2), account)


def rows_of(*ages: float) -> np.ndarray:
    return np.array([[age, 0, 2] for age in ages], np.float32).reshape(-1, 3)


def said(*positive: float) -> Scores:
    return np.array([[1 - each, each] for each in positive], np.float32).reshape(-1, 2)


def shown(counted: Distributions) -> dict[str, list[float]]:
    cells = counted.seen()
    found = {name: cells[2 * place : 2 * place + 2].tolist() for place, name in enumerate(BINS)}
    return {**found, "told": cells[-2:].tolist()}


def test_inputs_scores_and_labels_are_counted(counted: Distributions) -> None:
    counted.count(rows_of(0, 1, 5), said(0.2, 0.7, 1.0))
    assert shown(counted) == {
        "score": [2, 1],
        "label": [1, 2],
        "domain": [0, 0],
        "feature:age": [1, 2],
        "feature:income": [0, 3],
        "told": [0, 0],
    }


def test_of_rows_that_another_model_answered_only_the_inputs_count(counted: Distributions) -> None:
    counted.count(rows_of(0, 1, 5), said(1.0, 0.7, 1.0), np.array([True, False, False]))
    counted.count(rows_of(5), said(1.0), np.array([False]))
    found = shown(counted)
    assert (found["score"], found["label"], found["feature:age"]) == ([0, 1], [0, 1], [1, 3])


def test_what_is_found_by_a_closer_look_is_counted(counted: Distributions) -> None:
    counted.count_column("domain", np.array([0.0, 50.0, 99.0]))
    counted.told(7, 10)
    counted.told(1, 1)
    found = shown(counted)
    assert (found["domain"], found["told"]) == ([1, 2], [8, 3])


def test_rows_wait_until_somebody_looks_or_there_are_many(counted: Distributions, bins: FakeBins) -> None:
    for _ in range(3):
        counted.count(rows_of(1), said(0.5))
    assert not bins.calls
    counted.seen()
    counted.seen()
    assert len(bins.calls) == 1
    counted.count(rows_of(*[1] * BATCH_ROWS), said(*[0.5] * BATCH_ROWS))
    assert len(bins.calls) == 2
    assert shown(counted)["feature:age"] == [0, 3 + BATCH_ROWS]


def test_large_rows_do_not_wait_until_there_are_many(account: FakeAccount) -> None:
    bins = FakeBins("feature:pixel_mean")
    images = spec(layout="image", shape=(1, 1, BATCH_BYTES // 40))
    counted = Distributions(MODEL, images, bins, np.zeros(4), account)
    for _ in range(25):
        counted.count(np.ones((1, BATCH_BYTES // 40), np.float32), said(0.5))
    assert len(bins.calls) == 2


def test_a_row_is_accounted_for_once_it_is_counted(counted: Distributions, account: FakeAccount) -> None:
    counted.count(rows_of(1, 2), said(0.5, 0.5), senders=np.array([3, 4], np.int16))
    counted.count(rows_of(1), said(0.5), senders=np.array([4], np.int16))
    assert not account.rows  # or a shadow that dies now would lose them unseen
    counted.seen()
    assert (dict(account.rows), dict(account.by_sender)) == ({"counted": 3}, {3: 1, 4: 2})


def test_a_bug_loses_its_rows_and_no_others(
    counted: Distributions, bins: FakeBins, account: FakeAccount, caplog: pytest.LogCaptureFixture
) -> None:
    bins.error = ValueError("a bug")
    for _ in range(2):
        counted.count(rows_of(1, 2), said(0.5, 0.5))
        counted.count_column("domain", np.array([1.0]))
        counted.seen()
    bins.error = None
    counted.count(rows_of(1), said(0.5))
    assert shown(counted)["feature:age"] == [0, 1]
    assert dict(account.rows) == {"failed": 4, "counted": 1}
    assert caplog.text.count("logged once") == 1


def test_a_vector_that_outlives_a_process_is_counted_on(bins: FakeBins) -> None:
    cells = np.zeros(2 * len(BINS) + 2)
    for _ in range(3):
        Distributions(ModelKey("m:1", "candidate", ""), spec(), bins, cells).count(
            rows_of(*[5] * BATCH_ROWS), said(*[1] * BATCH_ROWS)
        )
    assert cells[1] == 3 * BATCH_ROWS


def test_threads_that_count_at_once_lose_no_row(counted: Distributions, account: FakeAccount) -> None:
    gate = threading.Barrier(4, timeout=60)
    looked: list[float] = []

    def bring() -> None:
        gate.wait()
        for _ in range(200):
            counted.count(rows_of(0, 1, 2), said(0.1, 0.6, 0.9))

    def look() -> None:
        gate.wait()
        for _ in range(200):
            counted.told(1, 2)
            looked.append(float(counted.seen()[:2].sum()))

    threads = [threading.Thread(target=work) for work in (bring, bring, bring, look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = shown(counted)
    assert (found["feature:age"], found["told"]) == ([600, 1_200], [200, 200])
    assert looked == sorted(looked)
    assert dict(account.rows) == {"counted": 1_800}


def batch_of(answerers: list[int]) -> ShadowBatch:
    count = len(answerers)
    return ShadowBatch(
        rows_of(*range(count)),
        said(*[1.0] * count),
        np.array(answerers, np.uint8),
        np.full(count, 7, np.int16),
        0.0,
        origin_of("id", rows=count),
    )


def test_what_arrives_is_counted_and_some_of_it_looked_at(
    counted: Distributions, account: FakeAccount
) -> None:
    looks = FakeLooks()
    Arrivals(account, counted, looks).offer(batch_of([0, 1, 0, 2]))
    found = shown(counted)
    assert (found["feature:age"], found["score"]) == ([1, 3], [0, 2])
    assert (looks.rows, dict(account.by_sender)) == (4, {7: 4})


def test_rows_are_accounted_for_where_production_is_unfit(account: FakeAccount) -> None:
    Arrivals(account).offer(batch_of([0, 1]))
    assert dict(account.rows) == {"failed": 2}
