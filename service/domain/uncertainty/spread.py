"""How far the members of an ensemble disagree, and how much of the doubt that explains.

The members are answers of models that might as well have been served: the trees of a forest, stages of a
boosting, networks trained apart, passes with live dropout. What they agree to be unsure about is aleatoric:
more training data of the kind would leave it. What they disagree about is epistemic.

- Classes (Depeweg et al. 2018, "Decomposition of uncertainty in Bayesian deep learning"), in bits: total is
  the entropy of the members' mean, aleatoric the mean of their entropies, epistemic the rest, which is the
  mutual information of label and member.
- A regression, in squared units: epistemic is the variance of the members (divided by their number);
  aleatoric the same for all rows, as members say nothing of noise: the mean squared residual of the
  calibration rows less their mean epistemic part, at least 0; total is the sum.

total = aleatoric + epistemic to 1e-12, and none is negative. It costs one run of the members' graph, mostly
many times the model's own, hence it is computed only where ``extra`` has ``EXTRA``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import ModelSpec
from service.domain.uncertainty.entropy import entropy
from service.domain.uncertainty.measure import (
    Arrays,
    Asked,
    Columns,
    Fitted,
    Kind,
    Material,
    Quantity,
    Unfitting,
)

EXTRA = "spread"
"""What callers ask for to get these columns."""

MOST_ROWS = 256
"""Rows whose members are held at once: a forest may have thousands of numbers for each."""

PERCENTILES = (5, 25, 50, 75, 95, 99)
LEAST_SPREAD = 1e-12
"""Members whose mean variance is below this share of their mean square differ by rounding alone."""

TOLERANCE = 0.01
"""By how much a member's probabilities may miss 0 or a sum of 1: some are computed in half precision."""
ROUNDING = 1e-5
"""How near to 1 a model's own two probabilities add up."""

_Parts: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Spread:
    """The measure ``spread``; see the module."""

    name: str = "spread"
    kind: Kind = "spread"

    def fit(self, material: Material) -> Fitted:
        """Looks at the members' answers for the calibration rows.

        The report has the number of ``members``; ``mean`` and ``percentiles`` of the epistemic part; its
        ``rank_correlation`` with the error of the served answer, which says whether it is worth anything
        (Spearman; null where one of them never changes; the error is the log-loss in bits, or the absolute
        residual); ``apart``, the root mean square difference between the members' mean and the served
        scores; and for a regression the ``aleatoric`` variance.

        Raises:
            Unfitting: there are no members, they do not differ, or what they answer for classes is no
                probabilities.
        """
        if "members" not in material.graphs:
            raise Unfitting("the bundle has no graph of members")
        members = material.run("members", material.rows).astype(np.float64)
        if members.shape[1] < 2:
            raise Unfitting("one member alone has nobody to disagree with")
        if material.spec.classes:
            _check_probabilities(members)
        if _still(members):
            raise Unfitting(
                "the members all answer the same for every calibration row; if they are passes with dropout, "
                "its dropout is not live"
            )
        noise = math.nan if material.spec.classes else _noise(members, material)
        epistemic = _parts(material.spec, members, noise)[1]
        report: dict[str, Any] = {
            "members": int(members.shape[1]),
            "mean": float(epistemic.mean()),
            "percentiles": {str(each): float(np.percentile(epistemic, each)) for each in PERCENTILES},
            "rank_correlation": _rank_correlation(epistemic, _errors(material)),
            "apart": float(np.sqrt(np.mean((members.mean(axis=1) - material.scores) ** 2))),
        }
        if not material.spec.classes:
            report["aleatoric"] = noise
        return Fitted({"noise": np.array(noise)}, report)

    def restore(self, spec: ModelSpec, arrays: Arrays) -> Quantity:
        return _Spread(spec, float(arrays["noise"]))


SPREAD = Spread()


@dataclass(frozen=True, slots=True)
class _Spread:
    spec: ModelSpec
    noise: float
    """Aleatoric variance of a regression; NaN for classes, whose members say it row by row."""

    def columns(self, asked: Asked) -> Columns:
        if EXTRA not in asked.extra:
            return {}
        parts = [
            _parts(self.spec, asked.run("members", rows).astype(np.float64), self.noise)
            for rows in (asked.rows[at : at + MOST_ROWS] for at in range(0, len(asked.rows) or 1, MOST_ROWS))
        ]
        aleatoric, epistemic = (np.concatenate(part) for part in zip(*parts, strict=True))
        return {"total": aleatoric + epistemic, "aleatoric": aleatoric, "epistemic": epistemic}


def _parts(spec: ModelSpec, members: NDArray[np.float64], noise: float) -> _Parts:
    """Aleatoric and epistemic part of each row, [rows] each; ``members`` are [rows, members, outputs]."""
    if not spec.classes:
        return np.full(len(members), noise), members[:, :, 0].var(axis=1)
    rows, count, classes = members.shape
    aleatoric = entropy(members.reshape(-1, classes)).reshape(rows, count).mean(axis=1)
    return aleatoric, np.maximum(entropy(members.mean(axis=1)) - aleatoric, 0.0)


def _check_probabilities(members: NDArray[np.float64]) -> None:
    """Entropies of anything else, such as margins, would be numbers without a meaning."""
    off = np.abs(members.sum(axis=2) - 1).max(axis=1)
    wrong = (members < -TOLERANCE).any(axis=(1, 2)) | ~(off <= TOLERANCE)
    if wrong.any():
        row = int(wrong.argmax())
        answered = members[row, 0, :10].round(4).tolist()
        raise Unfitting(
            f"its members answer no probabilities: the first says {answered} of calibration row {row}"
        )
    if members.shape[1:] == (2, 2) and np.abs(members[:, :, 1].sum(axis=1) - 1).max() <= ROUNDING:
        raise Unfitting(
            "its two members always add up to 1, so they are one model's probabilities of both classes; "
            "if that is a network with live dropout, say how many passes there are to be"
        )


def _still(members: NDArray[np.float64]) -> bool:
    return bool(members.var(axis=1).mean() <= LEAST_SPREAD * np.square(members).mean())


def _noise(members: NDArray[np.float64], material: Material) -> float:
    residuals = material.labels.astype(np.float64) - material.scores[:, 0]
    return max(0.0, float(np.mean(residuals**2) - members[:, :, 0].var(axis=1).mean()))


def _errors(material: Material) -> NDArray[np.float64]:
    """How wrong each served answer was, [n]: log-loss in bits, or the absolute residual."""
    if not material.spec.classes:
        return np.asarray(np.abs(material.labels.astype(np.float64) - material.scores[:, 0]))
    likely = material.scores[np.arange(len(material.labels)), material.labels].astype(np.float64)
    return np.asarray(-np.log2(np.maximum(likely, np.finfo(np.float32).tiny)))


def _rank_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    from scipy.stats import spearmanr  # costs memory that serving does not need

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one, other).statistic)
