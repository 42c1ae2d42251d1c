"""Streams of held-out demo rows whose traffic shifts at one point, and when their labels come.

Other rows become likely (covariate shift), and their labels come about otherwise (concept shift).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle, open_bundle
from models.canonical import canonical_rows
from models.demo import credit
from service.adapters.onnx import OnnxModel
from service.domain.schema import FeatureBatch
from service.domain.uncertainty.absolute import ABSOLUTE
from service.domain.uncertainty.lac import LAC
from service.domain.uncertainty.measure import Asked, Material, Measure, Region

ROWS, SHIFT, LATE = 8000, 2000, 500
CONFIDENCE = 0.9
"""Of the regions that are asked about."""

Labels: TypeAlias = Literal["immediate", "500 late", "intermittent"]
LABELS: tuple[Labels, ...] = ("immediate", "500 late", "intermittent")
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """Held-out rows of a demo model, and its region fitted to the bundle's calibration rows."""

    name: str
    region: Region
    evidence: Floats
    """[held out, k]"""
    labels: NDArray[Any]
    odds: Floats
    """How likely each row is after the shift, [held out]; adds up to 1."""
    changed: Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]
    """Labels as they come about after the shift."""


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Rows in order of arrival, one a second."""

    region: Region
    evidence: Floats
    labels: NDArray[Any]


def arrivals(labels: Labels, seed: int) -> list[NDArray[np.intp]]:
    """Before each row of a stream, the rows whose labels come."""
    none = np.empty(0, np.intp)
    delay = 1 if labels == "immediate" else LATE + 1
    if labels != "intermittent":
        return [none] * delay + [np.array([row]) for row in range(ROWS - delay)]
    rng = np.random.default_rng([seed, 1])
    come, last = [none] * ROWS, 0
    while last < ROWS:
        now = last + int(rng.integers(100, 600))
        if now < ROWS:
            come[now] = last + np.flatnonzero(rng.random(now - last) < 0.3)
        last = now
    return come


def drawn(traffic: Traffic, seed: int) -> Stream:
    """A stream of ``ROWS`` rows that shifts at ``SHIFT``."""
    rng = np.random.default_rng([seed, 0])
    before = rng.integers(len(traffic.labels), size=SHIFT)
    after = rng.choice(len(traffic.labels), ROWS - SHIFT, p=traffic.odds)
    labels = np.concatenate([traffic.labels[before], traffic.changed(traffic.labels[after], rng)])
    return Stream(traffic.region, traffic.evidence[np.concatenate([before, after])], labels)


def credit_traffic(home: Path) -> Traffic:
    """Poorer applicants come, and half of those who would have paid back do not."""
    bundle = _bundle(home, "credit", "gbm-1")
    table = credit.table("held_out")
    rows = canonical_rows(bundle.spec.schema, table)
    labels = np.array([bundle.spec.classes.index(str(name)) for name in table[credit.TARGET]])
    good = bundle.spec.classes.index("good")

    def changed(own: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        found: NDArray[Any] = np.where((own == good) & (rng.random(len(own)) < 0.5), 1 - good, own)
        return found

    income = rows[:, bundle.spec.schema.names().index("Income")]
    return _traffic(bundle, LAC, rows, labels, -income, changed)


def diabetes_traffic(home: Path) -> Traffic:
    """Heavier patients come, and the illness goes on 1.5 times as fast."""
    from sklearn.datasets import load_diabetes

    bundle = _bundle(home, "diabetes", "gbr-1")
    source = load_diabetes(scaled=False)
    rows = np.ascontiguousarray(source.data, dtype=np.float32)
    known = {row.tobytes() for part in (bundle.background(), bundle.calibration()[0]) for row in part}
    new = np.array([row.tobytes() not in known for row in rows])

    def changed(own: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        found: NDArray[Any] = 1.5 * own + rng.normal(0, 10, len(own))
        return found

    weight = rows[new][:, bundle.spec.schema.names().index("bmi")]
    return _traffic(bundle, ABSOLUTE, rows[new], source.target[new], weight, changed)


def _traffic(
    bundle: Bundle,
    measure: Measure,
    rows: FeatureBatch,
    labels: NDArray[Any],
    more: FeatureBatch,
    changed: Callable[[NDArray[Any], np.random.Generator], NDArray[Any]],
) -> Traffic:
    """``more``: what the shift brings more of, [rows]; missing values are taken as usual ones."""
    spec = bundle.spec
    known, scores, truth = bundle.calibration()
    material = Material(spec, known, scores, truth, bundle.background())
    restored: Any = measure.restore(spec, measure.fit(material).arrays)  # both measures are regions
    served = OnnxModel(bundle.model_path, spec, bundle.binding, providers=["CPUExecutionProvider"])
    evidence = restored.evidence(Asked(rows, served.predict(rows), CONFIDENCE))
    usual = np.nan_to_num((more - np.nanmean(more)) / np.nanstd(more))
    odds = np.exp(np.clip(usual.astype(np.float64), -2, 2))
    return Traffic(spec.tag, restored, evidence, labels, odds / odds.sum(), changed)


def _bundle(home: Path, name: str, version: str) -> Bundle:
    return open_bundle(home / "models" / name / version)
