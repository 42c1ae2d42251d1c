"""Holds a gradient graph against finite differences of its own margins, and those against the served scores.

Central differences are taken in float64, with ONNX's reference evaluator on a widened copy of the graph;
where that cannot run a graph or rounds to float32 on the way, with ONNX Runtime and wider steps, to a wider
tolerance. Rows are moved a little first: at the kinks of Relu and the ties of MaxPool, where data such as a
picture's empty border lies, a difference is the mean of two derivatives.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.gradients.build import gradient_graph
from models.gradients.differences import Derivatives, Margins, Probe, apart
from models.gradients.wide import WideMargins
from service.adapters.gradients import OnnxGradient
from service.adapters.onnx import OnnxModel
from service.domain.explainers.game import Unsuitable, explained
from service.domain.schema import Binding, FeatureBatch, ModelSpec
from service.errors import InferenceError

MIN_SHARE, MAX_MARGIN_ERROR = 0.99, 1e-3
"""Share of derivatives that must agree (the rest may lie beside a kink), and of margins with the served."""
ROWS, COORDINATES, CELLS = 4, 64, 1 << 21
"""Rows checked, inputs of each, and the most input numbers that are run for one row."""
JITTER = 0.01
"""How far rows are moved, as a share of a column's spread."""
CLEAR_MARGIN = 8.0
"""Log-odds beyond which float32 probabilities hold their own margin no longer."""

Precision: TypeAlias = Literal["float64", "float32"]

STEP: dict[Precision, float] = {"float64": 1e-6, "float32": 1e-2}
"""Half the distance of a central difference, as a share of a column's spread."""
TOLERANCE: dict[Precision, float] = {"float64": 1e-4, "float32": 3e-2}
"""Of a derivative, as a share of the largest one of its row."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """How far a gradient graph is from finite differences."""

    checked: int
    """Derivatives compared."""
    agreeing_share: float
    """Within ``TOLERANCE``."""
    max_error: float
    """Largest difference of the agreeing ones, as a share of their row's largest derivative."""
    margin_error: float
    """Largest |margin - margin of the served scores|, as a share of 1 + |margin|."""
    precision: Precision
    """Of the finite differences."""

    @property
    def passed(self) -> bool:
        return self.agreeing_share >= MIN_SHARE and self.margin_error <= MAX_MARGIN_ERROR

    def as_document(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def build_gradient(
    model_path: Path, spec: ModelSpec, binding: Binding, rows: FeatureBatch
) -> tuple[bytes, VerifyReport]:
    """A model's gradient graph, and how well it was found to hold at some of ``rows``.

    Args:
        model_path: the served graph.
        spec: the model's.
        binding: the model's.
        rows: canonical rows as the model meets them, [rows, width]; those with a missing value are left out.

    Raises:
        Unsuitable: the graph cannot be differentiated, or its gradient failed the comparison; says why.
    """
    graph = gradient_graph(model_path.read_bytes(), spec, binding)
    model = OnnxModel(model_path, spec, binding, providers=("CPUExecutionProvider",))
    report = verify(graph, spec, binding, rows, model)
    if not report.passed:
        raise Unsuitable(
            f"the gradient graph fails finite differences: {report.agreeing_share:.1%} of {report.checked} "
            f"derivatives agree, margins differ from the served ones by {report.margin_error:.2g}"
        )
    return graph, report


def verify(
    graph: bytes, spec: ModelSpec, binding: Binding, rows: FeatureBatch, model: OnnxModel, seed: int = 0
) -> VerifyReport:
    """Compares a gradient graph of ``model`` with finite differences at up to ``ROWS`` of ``rows``.

    Raises:
        Unsuitable: there is no row to compare at.
    """
    rng = np.random.default_rng(seed)
    whole = rows[~np.isnan(rows).any(axis=1)].astype(np.float64)
    if not len(whole):
        raise Unsuitable("every row has a missing value, so no derivative can be checked")
    spread = _spread(whole, spec)
    chosen = whole[rng.choice(len(whole), min(ROWS, len(whole)), replace=False)]
    points = (chosen + JITTER * spread * rng.standard_normal(chosen.shape)).astype(spec.schema.dtype)
    count = min(spec.schema.width, COORDINATES, max(8, CELLS // (2 * spec.schema.width)))
    columns = np.stack([rng.choice(spec.schema.width, count, replace=False) for _ in points])
    gradient = OnnxGradient(graph, spec, binding, ("CPUExecutionProvider",))
    probe = Probe(points, columns, spread, spec.outputs)
    found, precision = trusted_differences(probe, gradient, WideMargins(graph, spec, binding))
    errors = apart(probe.of(gradient), found)
    agreeing = errors <= TOLERANCE[precision]
    return VerifyReport(
        checked=errors.size,
        agreeing_share=float(agreeing.mean()),
        max_error=float(errors[agreeing].max(initial=0)),
        margin_error=_margin_error(gradient.margins(points), model, points, spec),
        precision=precision,
    )


def trusted_differences(probe: Probe, gradient: OnnxGradient, wide: Margins) -> tuple[Derivatives, Precision]:
    """In float64 where differences over two steps agree, so that no operator rounded; else in float32."""
    step, tolerance = STEP["float64"], TOLERANCE["float64"]
    try:
        near, far = (probe.differences(wide, length) for length in (step, 10 * step))
    except Exception:  # the evaluator raises whatever numpy does where it cannot run a graph
        near = far = np.full(probe.columns.shape, np.nan)
    if (apart(near, far) <= tolerance).mean() >= MIN_SHARE:
        return near, "float64"
    return probe.differences(gradient.margins, STEP["float32"]), "float32"


def _spread(rows: NDArray[np.float64], spec: ModelSpec) -> NDArray[np.float64]:
    """By how much each column varies; a picture's pixels share one number. Never 0."""
    if spec.schema.layout == "image":
        return np.full(rows.shape[1], float(rows.std()) or 1.0)
    own = rows.std(axis=0)
    return np.where(own > 0, own, 1.0)


def _margin_error(
    margins: NDArray[np.float32], model: OnnxModel, points: FeatureBatch, spec: ModelSpec
) -> float:
    try:
        scores = model.predict(points)
    except InferenceError as error:
        raise Unsuitable(f"derivatives cannot be checked on rows that cannot be served: {error}") from error
    kind: Literal["margin", "value"] = "margin" if spec.classes else "value"
    served = np.stack([explained(scores, kind, output) for output in range(spec.outputs)], axis=1)
    clear = np.abs(served) < CLEAR_MARGIN if spec.classes else np.isfinite(served)
    gaps = np.abs(margins - served)[clear] / (1 + np.abs(served[clear]))
    return float(gaps.max(initial=0))
