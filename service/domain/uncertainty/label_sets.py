"""Label sets: the labels whose nonconformity is up to a threshold, one for all classes or one for each.

One threshold covers the true label as often as it says over all rows; one for each class, over
the rows of each class too (Vovk, ACML 2012). Its price is larger sets: a class with n calibration rows can be
ruled out at confidences up to n / (n + 1) only.

A set may be empty: then no label is as usual for this row as the threshold asks. Filling it would cover more
often than was asked for, and hide that.

A forest answers few different probabilities, and a network that is sure many of nearly 1. Their float32 sums
depend on the threads and the device they are added up on, in the last digits; so a label within ``SLACK`` of
a threshold counts as up to it, or rows that tie with the calibration rows would fall out all at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import ModelSpec, Scores
from service.domain.uncertainty.conformal import REPORTED, Pool, Trial, pool, trials
from service.domain.uncertainty.measure import Arrays, Asked, Columns, Fitted, Material, Unfitting

SLACK = 2.0**-18
"""4e-6. A hundred trees on one thread and on four differ by up to 8e-7."""

OfLabels: TypeAlias = Callable[[Scores], NDArray[np.float64]]
"""Nonconformity of every label, [rows, classes], from served probabilities; a row's from that row alone."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelSets:
    """A ``Region`` over classes, whose evidence is the nonconformity of every label."""

    of_labels: OfLabels
    pools: tuple[Pool, ...]
    """One for all classes, or one for each."""
    classes: int

    @property
    def scores(self) -> NDArray[np.float64]:
        if len(self.pools) == 1:
            return self.pools[0].ascending
        return pool(np.concatenate([pool.ascending for pool in self.pools])).ascending

    def columns(self, asked: Asked) -> Columns:
        evidence = self.of_labels(asked.scores)
        shared = len(self.pools) == 1  # one number is compared with in half the time of an array
        limits = self.pools[0].threshold(asked.confidence) if shared else self.thresholds(asked.confidence)
        found: Columns = {"set": evidence <= limits}
        if "p_values" in asked.extra:
            found["p_values"] = self._p_values(evidence)
        return found

    def evidence(self, asked: Asked) -> NDArray[np.float64]:
        return self.of_labels(asked.scores)

    def nonconformity(self, evidence: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = evidence[np.arange(len(evidence)), labels]
        return found

    def thresholds(self, confidence: float) -> NDArray[np.float64]:
        if len(self.pools) == 1:
            return np.full(self.classes, self.pools[0].threshold(confidence))
        return np.array([pool.threshold(confidence) for pool in self.pools])

    def regions(self, evidence: NDArray[np.float64], thresholds: NDArray[np.float64]) -> Columns:
        return {"set": evidence <= thresholds}

    def with_scores(self, scores: NDArray[np.float64]) -> LabelSets:
        return LabelSets(self.of_labels, (pool(scores, SLACK),), self.classes)

    def _p_values(self, evidence: NDArray[np.float64]) -> NDArray[np.float64]:
        if len(self.pools) == 1:
            return self.pools[0].p_values(evidence)
        by_class = [pool.p_values(column) for pool, column in zip(self.pools, evidence.T, strict=True)]
        return np.stack(by_class, axis=1)


@dataclass(frozen=True, slots=True)
class SetMeasure:
    """A way to judge labels, as a ``Measure``."""

    name: str
    of_labels: OfLabels
    by_class: bool = False
    """Whether each class has a threshold of its own."""
    kind: Literal["region"] = "region"

    def fit(self, material: Material) -> Fitted:
        if not material.spec.classes:
            raise Unfitting("a regression has no labels to make sets of")
        arrays = self._learn(material)
        return Fitted(arrays, self._report(material, self.restore(material.spec, arrays)))

    def restore(self, spec: ModelSpec, arrays: Arrays) -> LabelSets:
        scores, classes = arrays["scores"], len(spec.classes)
        parts = np.split(scores, np.cumsum(arrays["rows"])[:-1]) if self.by_class else [scores]
        return LabelSets(self.of_labels, tuple(pool(part, SLACK) for part in parts), classes)

    def _learn(self, material: Material) -> Arrays:
        labels = material.labels
        own = self.of_labels(material.scores)[np.arange(len(labels)), labels]
        if not self.by_class:
            return {"scores": np.sort(own)}
        rows = np.bincount(labels, minlength=len(material.spec.classes))
        return {"scores": own[np.lexsort((own, labels))], "rows": rows}

    def _report(self, material: Material, learnt: LabelSets) -> dict[str, Any]:
        tried = list(trials(material, lambda some: self.restore(some.spec, self._learn(some))))
        classes = material.spec.classes
        rows = np.bincount(material.labels, minlength=len(classes)).tolist()
        return {
            "rows": len(material.labels),
            "class_rows": dict(zip(classes, rows, strict=True)),
            "most_confidence": min(pool.most_confidence for pool in learnt.pools),
            "at": [_summary(tried, confidence, classes) for confidence in REPORTED],
        }


def _summary(tried: list[Trial], confidence: float, classes: tuple[str, ...]) -> dict[str, Any]:
    """How sets of that confidence did on rows that were unseen: coverage, over all and by class, and size."""
    sets = np.concatenate([trial.columns(confidence)["set"] for trial in tried])
    labels = np.concatenate([trial.unseen.labels for trial in tried])
    covered, sizes = sets[np.arange(len(sets)), labels], sets.sum(axis=1)
    own = {name: covered[labels == code] for code, name in enumerate(classes)}
    return {
        "confidence": confidence,
        "coverage": float(covered.mean()),
        "class_coverage": {name: float(of.mean()) if len(of) else None for name, of in own.items()},
        "size": float(sizes.mean()),
        "empty": float((sizes == 0).mean()),
    }
