"""Exact Shapley values of a linear model's margin, in the caller's columns.

For a margin that is a sum of terms, each of one player's columns alone, the interventional Shapley value of a
player is its own term's difference from the background's average (Štrumbelj & Kononenko, JMLR 11, 2010): with
z = encode(x), phi = sum of w * (z - average z of the background) over the player's encoded columns. It takes
one pass over the encoded columns, whatever the background's size.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.game import (
    Ask,
    Explanation,
    Linear,
    Method,
    OutputKind,
    Structure,
    Subject,
    Unsuitable,
    Values,
    label_of,
)
from service.domain.schema import FeatureBatch, Scores, label_indices
from service.errors import DeadlineError

NAME = "linear-exact"


@dataclass(frozen=True, slots=True, eq=False)
class LinearExact:
    """The method at work on one model; see ``game.Explainer``."""

    subject: Subject
    structure: Structure
    head: Linear
    owners: NDArray[np.intp]
    """The player of each encoded column, [columns]."""
    means: NDArray[np.float64]
    """Average of each encoded column over the background, [columns]."""
    bases: NDArray[np.float64]
    """Average margins over the background, [outputs of the head]."""

    def __call__(self, rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        """Infers, then explains; see ``explain_scored``."""
        if time.monotonic() > due:
            raise DeadlineError(f"{NAME} was asked when its time was over")
        return self.explain_scored(rows, self.subject.predict(rows), ask)

    def explain_scored(self, rows: FeatureBatch, scores: Scores, ask: Ask) -> list[Explanation]:
        """One explanation for each row whose served ``scores`` [rows, outputs] are at hand already.

        The margin of a binary model is its log-odds; that of a multi-class model is the class's raw score, of
        a softmax the one whose margins sum to 0 over the classes.

        Raises:
            Unsuitable: a probability is asked for, which is not a sum of the players' terms, or a class that
                is none.
        """
        spec = self.subject.spec
        output: OutputKind = "margin" if spec.classes else "value"
        if ask.output not in (None, output):
            reason = f"explains the {output}, in which this model is linear"
            raise Unsuitable(f"{NAME} {reason}; for the {ask.output} ask for another method")
        changes = self.structure.encode(rows) - self.means
        answers = label_indices(spec, scores)
        return [
            self._explain(change, served, output, label_of(spec, ask, answered))
            for change, served, answered in zip(changes, scores, answers, strict=True)
        ]

    def _explain(
        self, change: NDArray[np.float64], served: NDArray[Any], output: OutputKind, label: int | None
    ) -> Explanation:
        binary = self.subject.spec.task == "binary"
        margin = 0 if binary or label is None else label
        terms = change * self.head.weights[:, margin]
        if binary and label == 0:  # its log-odds are those of the second class, negated
            terms = -terms
        values: Values = np.bincount(self.owners, terms, len(self.subject.players)).astype(np.float64)
        base = float(self.bases[margin])
        if binary and label == 0:
            base = -base
        total = base + float(values.sum())
        gap = abs(self._score(change, margin, total) - float(served[label or 0]))
        return Explanation(NAME, True, output, label, base, values, additivity_gap=gap)

    def _score(self, change: NDArray[np.float64], margin: int, total: float) -> float:
        """The served score that follows from an explanation's sum."""
        if self.head.post == "none":
            return total
        if self.head.post == "logistic":
            return math.exp(min(total, 0.0)) / (1 + math.exp(-abs(total)))
        margins = self.bases + change @ self.head.weights
        margins[margin] = total
        shares = np.exp(margins - margins.max())
        return float(shares[margin] / shares.sum())


def scores_of(head: Linear, margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scores that a linear head makes of its margins [rows, outputs]; one logistic makes two classes."""
    if head.post == "none":
        return margins
    if head.post == "softmax":
        shares = np.exp(margins - margins.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))
    scores = np.exp(np.minimum(margins, 0)) / (1 + np.exp(-np.abs(margins)))
    return np.concatenate([1 - scores, scores], axis=1) if margins.shape[1] == 1 else scores


def build(subject: Subject) -> LinearExact:
    """Encodes the background once.

    Raises:
        Unsuitable: the model is not linear in columns that are each made of one of the caller's.
    """
    structure = subject.structure
    if structure is None:
        raise Unsuitable(subject.why_no_structure)
    head = structure.head
    if not isinstance(head, Linear):
        raise Unsuitable("the model is not linear")
    means = structure.encode(subject.background).mean(axis=0, dtype=np.float64)
    owners = subject.players.owner()[structure.sources]
    return LinearExact(subject, structure, head, owners, means, means @ head.weights + head.intercepts)


LINEAR_EXACT = Method(NAME, build, quick=True)
