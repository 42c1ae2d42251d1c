"""Both models on labelled rows: who is right, by how much, in which slices, and how sure that is.

What the live report says of labelled traffic is said here by the same measures, ``JUDGEMENT``; what takes
all rows at once, and intervals for a fixed number of rows, come on top. The intervals are for one look at
one file: the live verdict's, which may be looked at any time, are wider.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.asking import answers, on_cpu
from models.bundle import Bundle
from models.canonical import Labels, Table, canonical_rows, label_rows
from models.intervals import (
    Interval,
    Statistic,
    auc_of,
    bootstrap,
    mcnemar,
    mean_of,
    paired_difference,
    share,
)
from models.pair import pair_of
from service.domain.disagreement.measure import Compared, truth
from service.domain.evidence.measures import JUDGEMENT
from service.domain.evidence.sheet import Sheet, sheet
from service.domain.schema import FeatureBatch, Scores
from service.domain.slices import Slice, members
from service.errors import BundleError

LEAST_PROBABILITY = 1e-7
"""A probability below it counts as it in the log-loss, which would be infinite at 0."""

Better: TypeAlias = Literal["higher", "lower"]
Statistics: TypeAlias = dict[str, tuple[Better, tuple[Statistic, Statistic]]]
"""By measure: what is better, and the statistics of production and of the candidate."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure of both models on the same rows."""

    better: Better
    production: Interval
    candidate: Interval
    difference: Interval
    """The candidate's minus production's."""
    p: float | None = None
    """Of the exact test of McNemar; of accuracy only."""

    def as_document(self) -> dict[str, Any]:
        return {
            "better": self.better,
            "production": self.production._asdict(),
            "candidate": self.candidate._asdict(),
            "difference": self.difference._asdict(),
            "favours": self.favours,
            "p": self.p,
        }

    @property
    def favours(self) -> str | None:
        """The model that is surely better; None where chance may explain the difference."""
        sign = self.difference.sign
        return None if not sign else "candidate" if (sign > 0) == (self.better == "higher") else "production"


def evaluate(
    production: Bundle,
    candidate: Bundle,
    table: Table,
    target: str,
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """What the labelled rows of a table say of both models, ready for JSON.

    Args:
        production: whose manifest decides about slices, tolerance and costs.
        candidate: a bundle with the same classes, or another regression.
        table: raw columns, as callers would send them, and the target's.
        target: the column of true labels.
        confidence: of each interval.
        seed: of the bootstrap.

    Raises:
        BundleError: the models answer different things, or the table does not fit one of them.
    """
    pair = pair_of(production, candidate)
    if target not in table:
        raise BundleError(f"target column {target!r} is not in the data")
    labels = label_rows(production.spec, table[target])
    rows = canonical_rows(production.spec.schema, table)
    compared = Compared(
        _answers(production, rows),
        _answers(candidate, canonical_rows(candidate.spec.schema, table)),
        labels=labels,
    )
    judgement = sheet(pair, JUDGEMENT)
    contributions = judgement.contributions(compared)
    schema = production.spec.schema
    slices = [Slice(entry.name, entry.condition(schema)) for entry in production.manifest.slices]
    found = {}
    for name, mask in members(slices, rows).items():
        if mask.any():
            part = Compared(compared.before[mask], compared.after[mask], labels=labels[mask])
            measured = _measured(judgement, contributions[mask], part, confidence, seed)
            found[name] = {
                "rows": int(mask.sum()),
                "judgement": judgement.show(contributions[mask].sum(axis=0)),
                "measures": {measure: each.as_document() for measure, each in measured.items()},
            }
    return {
        "production": production.spec.tag,
        "candidate": candidate.spec.tag,
        "rows": len(rows),
        "confidence": confidence,
        "seed": seed,
        "slices": found,
    }


def _answers(bundle: Bundle, rows: FeatureBatch) -> Scores:
    scores = answers(on_cpu(bundle), rows)
    if not np.isfinite(scores).all():
        row = int((~np.isfinite(scores)).any(axis=1).argmax())
        raise BundleError(f"{bundle.spec.tag} answers {scores[row].tolist()} for row {row}")
    return scores


def _measured(
    judgement: Sheet, contributions: NDArray[np.float64], compared: Compared, confidence: float, seed: int
) -> dict[str, Measured]:
    found = {}
    if judgement.has("accuracy/both"):
        found["accuracy"] = _accuracy(judgement, contributions, confidence)
    statistics = _statistics(judgement, contributions, compared)
    pairs = {name: pair for name, (_, pair) in statistics.items()}
    for name, intervals in bootstrap(pairs, len(compared), confidence, seed).items():
        if math.isfinite(intervals[2].value):  # rows of one class have no AUC
            found[name] = Measured(statistics[name][0], *intervals)
    return found


def _accuracy(judgement: Sheet, contributions: NDArray[np.float64], confidence: float) -> Measured:
    rows = len(contributions)
    sums = contributions.sum(axis=0)
    both, production, candidate = (
        round(judgement.column(f"accuracy/{who}", sums))
        for who in ("both", "production_only", "candidate_only")
    )
    return Measured(
        "higher",
        share(both + production, rows, confidence),
        share(both + candidate, rows, confidence),
        paired_difference(candidate, production, rows, confidence),
        mcnemar(candidate, production),
    )


def _statistics(judgement: Sheet, contributions: NDArray[np.float64], compared: Compared) -> Statistics:
    before, after, labels = compared.before, compared.after, truth(compared)
    if not judgement.pair.production.classes:
        errors = [np.abs(scores[:, 0].astype(np.float64) - labels) for scores in (before, after)]
        return {
            "mae": ("lower", (mean_of(errors[0]), mean_of(errors[1]))),
            "rmse": ("lower", (_root(mean_of(errors[0] ** 2)), _root(mean_of(errors[1] ** 2)))),
        }
    losses = [contributions[:, judgement.place(f"loss/{model}")] for model in ("production", "candidate")]
    surprise = [_log_losses(scores, labels) for scores in (before, after)]
    found: Statistics = {
        "brier": ("lower", (mean_of(losses[0]), mean_of(losses[1]))),
        "log_loss": ("lower", (mean_of(surprise[0]), mean_of(surprise[1]))),
    }
    if judgement.pair.production.task == "binary":
        positive = labels == 1
        found["auc"] = ("higher", (auc_of(before[:, 1], positive), auc_of(after[:, 1], positive)))
    return found


def _log_losses(scores: Scores, labels: Labels) -> NDArray[np.float64]:
    """Nats per row."""
    stated = scores[np.arange(len(scores)), labels].astype(np.float64)
    return -np.log(np.clip(stated, LEAST_PROBABILITY, 1.0))


def _root(statistic: Statistic) -> Statistic:
    return lambda weights: np.sqrt(statistic(weights))
