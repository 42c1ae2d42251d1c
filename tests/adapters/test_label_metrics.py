"""What is counted of labels and records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from service.adapters.label_metrics import NO_CLASS, FeedbackMetrics, LabelMetrics
from service.adapters.ledger import Ledger, Side
from service.adapters.prometheus import LedgerCollector
from service.domain.labels import Answerer, Joined, Labelled
from service.domain.observation import RECORD_OUTCOMES

CREDIT = Answerer("credit:1", "production", "binary", ("bad", "good"), 0.5, ())
CANARY = Answerer("credit:2", "canary", "binary", ("bad", "good"), 0.5, ())
HOUSES = Answerer("houses:1", "production", "regression", (), 0.5, ())


def labelled(who: Answerer, labels: list[float], predicted: list[int]) -> Labelled:
    rows = len(labels)
    kinds = np.intp if who.classes else np.float64
    return Labelled(
        who,
        np.zeros((rows, who.outputs), np.float32),
        np.array(labels, dtype=kinds),
        np.array(predicted, dtype=np.intp),
        None,
        np.zeros(rows, np.uint32),
        np.zeros(rows),
        np.ones(rows),
    )


def test_labels_are_counted_by_model_arm_and_who_was_right() -> None:
    registry = CollectorRegistry()
    metrics = LabelMetrics(registry)
    batches = (
        labelled(CREDIT, [1, 1, 0], [1, 0, 0]),
        labelled(CANARY, [0], [1]),
        labelled(HOUSES, [1.5, 2.5], [0, 0]),
    )
    metrics.joined(Joined(batches, misfits=2))
    metrics.joined(Joined(batches[:1]))

    def count(model: str, version: str, arm: str, correct: str) -> float | None:
        labels = {"model": model, "version": version, "arm": arm, "correct": correct}
        return registry.get_sample_value("understudy_labels_total", labels)

    assert count("credit", "1", "production", "true") == 4
    assert count("credit", "1", "production", "false") == 2
    assert count("credit", "2", "canary", "false") == 1
    assert count("credit", "2", "canary", "true") is None
    assert count("houses", "1", "production", NO_CLASS) == 2
    assert registry.get_sample_value("understudy_labels_misfit_total") == 2


def test_what_became_of_posted_labels_is_counted() -> None:
    registry = CollectorRegistry()
    metrics = FeedbackMetrics(registry)
    for outcome in ("matched", "store_error", "matched"):
        metrics.told(outcome)
    assert registry.get_sample_value("understudy_feedback_total", {"outcome": "matched"}) == 2


def test_what_became_of_every_record_is_shown_even_where_it_is_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.bin", ("m:1",), records=True)
    ledger.count(Side.SHADOW, 3, 1, "written", 5)
    registry = CollectorRegistry()
    registry.register(LedgerCollector(ledger))
    found = {
        outcome: registry.get_sample_value("understudy_records_total", {"outcome": outcome})
        for outcome in RECORD_OUTCOMES
    }
    assert found == dict.fromkeys(RECORD_OUTCOMES, 0) | {"written": 5}


def test_without_records_there_is_no_such_family(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    registry.register(LedgerCollector(Ledger(tmp_path / "ledger.bin", ("m:1",))))
    assert [family.name for family in registry.collect()] == [
        "understudy_shadow_rows",
        "understudy_breaker_open",
    ]
