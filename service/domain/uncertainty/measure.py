"""What every measure of uncertainty is given, and what it gives back.

A measure is fitted once, at packaging, to calibration rows that the model was not trained on; what it learnt
is a few arrays, which travel in the bundle. At load they are restored, and then each request is answered with
numpy alone. A measure's results are *columns*: arrays with one entry per row, under the names in ``COLUMNS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import FeatureBatch, ModelSpec, Scores

Kind: TypeAlias = Literal["region", "probability", "domain", "spread"]
"""What a measure says: which labels or values are possible, how likely a label is, whether the model knows
such rows, and how far its members agree."""

Graph: TypeAlias = Literal["reconstruction", "members", "quantiles"]
"""A second graph in the bundle, which takes what the model takes."""

Columns: TypeAlias = dict[str, NDArray[Any]]
"""Results by name, one entry per row; see ``COLUMNS``."""

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
"""What a fitted measure consists of."""

LEAST_CONFIDENCE, MOST_CONFIDENCE = 0.5, 0.999
"""What callers and manifests may ask for."""

COLUMNS: Mapping[str, str] = {
    "set": "bool [rows, classes]: the labels that the confidence does not rule out",
    "interval": "float64 [rows, 2]: least and greatest possible value; infinite where nothing is ruled out",
    "p_values": "float64 [rows, classes]: conformal p-value of each label",
    "calibrated": "float64 [rows, classes]: calibrated probabilities; rows add up to 1",
    "venn_abers": "float64 [rows, 2]: bounds of the second class's probability",
    "domain_score": "float64 [rows]: distance from the training data; larger is stranger",
    "domain_percentile": "float64 [rows]: share of the calibration rows that are less strange, 0 to 100",
    "in_domain": "bool [rows]",
    "entropy": "float64 [rows]: of the served probabilities, in bits",
    "total": "float64 [rows]: bits for classes, variance in squared units for a regression",
    "aleatoric": "float64 [rows]: the part that more training data would leave, same unit; NaN where unknown",
    "epistemic": "float64 [rows]: the part that the members disagree about, same unit",
}
"""Every column that a measure may give."""


class Unfitting(Exception):
    """A measure cannot serve this model; says why in a sentence."""


def _no_graph(graph: Graph, rows: FeatureBatch) -> NDArray[np.floating[Any]]:
    raise Unfitting(f"the bundle has no graph of {graph}, asked about {len(rows)} rows")


Run: TypeAlias = Callable[[Graph, FeatureBatch], NDArray[np.floating[Any]]]
"""Runs a second graph on canonical rows.

``reconstruction``: [rows] reconstruction errors; ``members``: [rows, members, outputs], each member's scores
in the unit of the served ones; ``quantiles``: [rows, 2], a low and a high quantile of the value.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a measure is fitted to. The calibration rows are the model's to answer, never to learn."""

    spec: ModelSpec
    rows: FeatureBatch
    """Canonical calibration rows, [n, width]."""
    scores: Scores
    """As served, [n, outputs]."""
    labels: NDArray[Any]
    """[n]: intp indices into ``spec.classes``, or float64 values of a regression."""
    reference: FeatureBatch
    """Canonical rows that the model was trained on, at most a thousand; [m, width]."""
    graphs: frozenset[Graph] = frozenset()
    """Second graphs that the bundle has."""
    run: Run = _no_graph
    percentile: float = 99.0
    """Rows stranger than this share of the calibration rows are out of domain."""
    seed: int = 0


class Asked(NamedTuple):
    """What a caller wants to know about some rows; a tuple because one is made per request."""

    rows: FeatureBatch
    """Canonical rows, [rows, width]."""
    scores: Scores
    """What the model answered, [rows, outputs]."""
    confidence: float = 0.9
    """From ``LEAST_CONFIDENCE`` to ``MOST_CONFIDENCE``."""
    extra: frozenset[str] = frozenset()
    """Columns wanted beyond those that a measure always gives."""
    run: Run = _no_graph


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A measure after fitting."""

    arrays: Arrays
    report: Mapping[str, Any] = field(default_factory=dict)
    """What there is to say about it, ready for JSON: sizes, losses, tables, choices."""


class Quantity(Protocol):
    """A fitted measure, ready for requests; immutable, used from several threads."""

    def columns(self, asked: Asked) -> Columns:
        """Its results for some rows; vectorised, numpy alone."""


class Measure(Protocol):
    """One way to say how sure an answer is; stateless."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    def fit(self, material: Material) -> Fitted:
        """Learns from the calibration rows; the same material always gives the same arrays.

        Raises:
            Unfitting: it cannot serve this model, or has too little to learn from.
        """

    def restore(self, spec: ModelSpec, arrays: Arrays) -> Quantity:
        """What ``fit`` learnt, ready for requests."""


class Region(Quantity, Protocol):
    """A conformal measure: every label has a nonconformity, and those up to a threshold are possible.

    The threshold at a confidence is a quantile of the calibration rows' nonconformity (Vovk, Gammerman &
    Shafer 2005), so a region covers the true label with that probability wherever rows are exchangeable.
    """

    @property
    def scores(self) -> NDArray[np.float64]:
        """Nonconformity of the calibration rows' true labels, ascending, [n]."""

    def evidence(self, asked: Asked) -> NDArray[np.float64]:
        """All that is needed to judge any label of these rows later, [rows, k]; for classes k = classes."""

    def nonconformity(self, evidence: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[np.float64]:
        """Of one label for each row, [rows]."""

    def thresholds(self, confidence: float) -> NDArray[np.float64]:
        """[classes], or [1] for a regression; infinite where the calibration rows are too few."""

    def regions(self, evidence: NDArray[np.float64], thresholds: NDArray[np.float64]) -> Columns:
        """``set`` or ``interval``."""

    def with_scores(self, scores: NDArray[np.float64]) -> Region:
        """The same measure with other calibration scores, all classes alike; [n] in any order."""
