"""``tree-exact`` beside shap's TreeExplainer (C code, interventional), which everybody uses.

Both explain the same trees, read from the same ONNX file, with the same background. Repetitions alternate
between the two, so drift of the machine cancels.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from load_tests import report
from load_tests.report import Finding
from load_tests.sections import Circumstances, Section
from load_tests.stats import paired_ratio
from service.adapters import shap_trees
from service.adapters.graphs.structure import structure_of
from service.adapters.onnx import OnnxModel
from service.domain.explainers import tree_exact
from service.domain.explainers.folding import Folding
from service.domain.explainers.game import Ask, Explainer, Players, Subject
from service.domain.schema import Binding, Feature, FeatureBatch, ModelSpec, Schema

COLUMNS, DEPTH, NEVER = 20, 6, float("inf")
BINDING = Binding(("input",), "variable", "value")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    trees: tuple[int, ...]
    backgrounds: tuple[int, ...]
    """Rows; 1,000 is among them."""
    repetitions: int
    rows: int
    """Explained one by one in each repetition by us; by shap, a tenth of them."""
    batch: int = 1000


FULL = Plan((100, 500), (100, 1000, 3000), 5, 200)
QUICK = Plan((100,), (100, 1000), 3, 50)


@dataclass(frozen=True, slots=True)
class Measured:
    """One model with one background."""

    trees: int
    background: int
    ours: list[float]
    """Seconds a row, one by one, in each repetition."""
    shaps: list[float]
    batch_rows_per_second: float
    difference: float
    """Largest of all values of all rows."""
    fold_seconds: float
    table_bytes: int

    @property
    def speedup(self) -> float:
        return paired_ratio(self.shaps, self.ours)

    def line(self) -> tuple[str, ...]:
        return (
            str(self.trees),
            f"{self.background:,}",
            f"{1e6 * median(self.ours):,.0f}",
            f"{1e6 * median(self.shaps):,.0f}",
            f"{self.speedup:,.0f}",
            f"{self.difference:.1e}",
            f"{self.batch_rows_per_second:,.0f}",
            f"{self.fold_seconds:.2f}",
            f"{self.table_bytes / 2**20:.1f}",
        )


def trees(circumstances: Circumstances) -> Section:
    """``tree-exact`` against shap's TreeExplainer."""
    return compare(QUICK if circumstances.quick else FULL)


def compare(plan: Plan) -> Section:
    """The measurements and claims of a plan."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for count in plan.trees:
            rows, model, path = _boosting(count, Path(folder))
            for background in plan.backgrounds:
                subject = _subject(model, path, rows[:background])
                found.append(_compare(plan, count, subject, rows[-plan.batch :]))
                print(" ".join(found[-1].line()), file=sys.stderr)
    header = (
        "trees",
        "background",
        "us/row",
        "shap us/row",
        "speedup",
        "difference",
        "rows/s",
        "fold s",
        "MiB",
    )
    section = Section(f"Trees of depth {DEPTH} over {COLUMNS} columns: tree-exact and shap", header)
    section.lines = [each.line() for each in found]
    section.measured = [report.record(each) for each in found]
    section.findings = list(_claims(plan, found))
    return section


def _claims(plan: Plan, found: Sequence[Measured]) -> Iterator[Finding]:
    for count in plan.trees:
        own = {each.background: each for each in found if each.trees == count}
        yield Finding(f"{count} trees, 1,000 background rows: shap / tree-exact", own[1000].speedup, "x", 50)
        small, large = min(own), max(own)
        level = paired_ratio(own[large].ours, own[small].ours)
        yield Finding(f"{count} trees: {large:,} / {small:,} background rows", level, "x", 1.3, at_most=True)
    difference = max(each.difference for each in found)
    yield Finding("largest difference from shap", difference, "", 1e-5, at_most=True)


def _compare(plan: Plan, count: int, subject: Subject, rows: FeatureBatch) -> Measured:
    ours, shaps = tree_exact.build(subject), shap_trees.build(subject)
    few = rows[: max(2, plan.rows // 10)]
    difference = np.abs(_values(ours, few) - _values(shaps, few)).max()
    times: list[tuple[float, float]] = []
    for _ in range(plan.repetitions):
        one = _seconds(lambda: _one_by_one(ours, rows[: plan.rows])) / plan.rows
        times.append((one, _seconds(lambda: _one_by_one(shaps, few)) / len(few)))
    batch = min(_seconds(lambda: ours(rows, Ask(), NEVER)) for _ in range(plan.repetitions))
    seconds, table_bytes = _folded(subject)
    return Measured(
        trees=count,
        background=len(subject.background),
        ours=[one for one, _ in times],
        shaps=[other for _, other in times],
        batch_rows_per_second=len(rows) / batch,
        difference=float(difference),
        fold_seconds=seconds,
        table_bytes=table_bytes,
    )


def _folded(subject: Subject) -> tuple[float, int]:
    """Seconds and bytes of folding the one margin."""
    model = tree_exact.ready(subject)
    start = time.perf_counter()
    fold = Folding(model.trees, model.background, model.owner, len(subject.players)).fold(0)
    return time.perf_counter() - start, fold.nbytes


def _boosting(count: int, folder: Path) -> tuple[FeatureBatch, OnnxModel, Path]:
    """Rows [5000, columns] and a regression by XGBoost as an ONNX file."""
    import onnxmltools
    import xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5000, COLUMNS)).astype(np.float32)
    target = rows[:, 0] * rows[:, 1] + np.sin(2 * rows[:, 2]) + rows[:, 3] * (rows[:, 4] > 0)
    target += 0.3 * rows[:, 5:12].sum(axis=1) + rng.normal(0, 0.3, len(rows))
    settings: dict[str, Any] = {"max_depth": DEPTH, "learning_rate": 0.1, "n_jobs": 1, "random_state": 0}
    model = xgboost.XGBRegressor(n_estimators=count, **settings).fit(rows, target)
    kinds = [("input", FloatTensorType([None, COLUMNS]))]
    path = folder / f"{count}.onnx"
    path.write_bytes(
        onnxmltools.convert_xgboost(model, initial_types=kinds, target_opset=15).SerializeToString()
    )
    features = tuple(Feature(f"x{column}", "float") for column in range(COLUMNS))
    spec = ModelSpec("bench", f"xgb-{count}", "regression", Schema(features, "tensor"))
    return rows, OnnxModel(path, spec, BINDING, providers=("CPUExecutionProvider",)), path


def _subject(model: OnnxModel, path: Path, background: FeatureBatch) -> Subject:
    spec = model.spec
    structure = structure_of(path, spec, BINDING, model.predict, background)
    players = Players(spec.schema.names(), tuple(np.array([column]) for column in range(COLUMNS)))
    return Subject(spec, model.predict, background, players, structure)


def _values(explainer: Explainer, rows: FeatureBatch) -> NDArray[np.float64]:
    return np.stack([each.values for each in explainer(rows, Ask(), NEVER)])


def _one_by_one(explainer: Explainer, rows: FeatureBatch) -> None:
    for at in range(len(rows)):
        explainer(rows[at : at + 1], Ask(), NEVER)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
