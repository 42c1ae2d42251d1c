"""Exact interventional SHAP of tree ensembles, looked up in tables folded at load (see ``folding``).

What is explained is what the trees add up to: the raw score where a logistic or a softmax comes after, the
probability where nothing does (forests), the value of a regression. A row costs tens of microseconds whatever
the size of the background; the only error is rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.folding import BUDGET, Folding
from service.domain.explainers.game import Ask, Explanation, Method, OutputKind, Subject, Unsuitable, label_of
from service.domain.schema import FeatureBatch, Scores, label_indices
from service.domain.trees import Rows, TreeEnsemble, transformed

NAME = "tree-exact"
TOLERANCE = 1e-5
"""Largest |read - served| / (1 + |served|) on the background at which the trees are taken for the model."""

Contributions = Callable[[Rows], NDArray[np.float64]]
"""The head's input rows [rows, columns] to Shapley values of one margin, [rows, players]."""


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """A model whose trees were read and answer as it does."""

    subject: Subject
    trees: TreeEnsemble
    """Of a binary model with a softmax: the one of the margins' difference, which is its log-odds."""
    encode: Callable[[FeatureBatch], Rows]
    background: Rows
    """The head's input, [rows, columns]."""
    owner: NDArray[np.intp]
    """The player of each column of the head's input, [columns]."""
    base: NDArray[np.float64]
    """Mean margins over the background, [margins]."""
    output: OutputKind


def ready(subject: Subject) -> Ready:
    """Checks that the subject is one of trees, and that these trees answer as it does.

    Raises:
        Unsuitable: it is not, or its scores are no sums of trees in any form that can be explained.
    """
    structure, spec = subject.structure, subject.spec
    if structure is None:
        raise Unsuitable(subject.why_no_structure)
    if not isinstance(structure.head, TreeEnsemble):
        raise Unsuitable("the model is not one of trees")
    trees = _one_margin(structure.head) if spec.task == "binary" else structure.head
    if trees.post in ("probit", "softmax_zero"):
        raise Unsuitable(f"the trees' post-transform {trees.post} leaves no margin to explain")
    if not len(subject.background):
        raise Unsuitable("there are no background rows to compare with")
    background = structure.encode(subject.background)
    margins = trees.margins(background)
    scores, served = trees.scores(margins), subject.predict(subject.background).astype(np.float64)
    if scores.shape != served.shape:
        raise Unsuitable(f"the trees answer {scores.shape[1]} scores, the model {served.shape[1]}")
    apart = float(np.max(np.abs(scores - served) / (1 + np.abs(served))))
    if not apart <= TOLERANCE:
        raise Unsuitable(f"the trees as read answer otherwise than the model, by up to {apart:.2g}")
    output: OutputKind = "value" if not spec.classes else "probability" if trees.post == "none" else "margin"
    owner = subject.players.owner()[structure.sources]
    return Ready(subject, trees, structure.encode, background, owner, margins.mean(axis=0), output)


def build(subject: Subject) -> TreeExplainer:
    """Folds every output.

    Raises:
        Unsuitable: see ``ready`` and ``Folding``.
    """
    model = ready(subject)
    folding = Folding(model.trees, model.background, model.owner, len(subject.players))
    outputs = model.trees.outputs
    folds = [folding.fold(output, BUDGET // outputs) for output in range(outputs)]
    return TreeExplainer(model, [fold.contributions for fold in folds])


TREE_EXACT = Method(NAME, build, quick=True)


class TreeExplainer:
    """Attributions of tree ensembles, from whatever computes them.

    Args:
        model: what was read.
        contributions: one for each margin.
    """

    def __init__(self, model: Ready, contributions: Sequence[Contributions]) -> None:
        self._model = model
        self._spec = model.subject.spec
        self._contributions = contributions
        self._base: list[float] = model.base.tolist()

    def __call__(
        self,
        rows: FeatureBatch,
        ask: Ask,
        due: float,  # noqa: ARG002 - of the protocol; a row takes microseconds
    ) -> list[Explanation]:
        """See ``game.Explainer``."""
        return self.explain_scored(rows, self._model.subject.predict(rows), ask)

    def explain_scored(self, rows: FeatureBatch, scores: Scores, ask: Ask) -> list[Explanation]:
        """Explanations of rows that were answered already.

        Args:
            rows: canonical rows, [rows, width].
            scores: what the model served for them, [rows, outputs].
            ask: see ``game.Explainer``.

        Raises:
            Unsuitable: another output is asked for than the trees add up to, or a class that is none.
        """
        model = self._model
        if ask.output not in (None, model.output):
            raise Unsuitable(f"the trees of this model add up to its {model.output}, not to its {ask.output}")
        label = label_of(self._spec, ask, 0)
        encoded = model.encode(rows)
        if self._spec.task != "multiclass":
            margin = 0 if label is None or model.trees.complement else label
            values = self._contributions[margin](encoded)
            return [
                self._single(margin, label, own, row)
                for own, row in zip(values, scores.tolist(), strict=True)
            ]
        answered = label_indices(self._spec, scores)
        labels = [answer if ask.label is None else ask.label for answer in answered]
        return self._of_many(encoded, scores, labels)

    def _single(
        self, margin: int, label: int | None, values: NDArray[np.float64], served: list[float]
    ) -> Explanation:
        """Where the explained score depends on one margin alone."""
        base, trees = self._base[margin], self._model.trees
        total = base + math.fsum(values.tolist())
        score = _logistic(total) if trees.post == "logistic" else total
        shown = 0 if label is None else label
        if trees.complement and label == 0:  # the other class's margin, turned round
            score, values = 1 - score, -values
            base = -base if trees.post == "logistic" else 1 - base
        return self._explanation(label, base, values, abs(score - served[shown]))

    def _of_many(self, encoded: Rows, scores: Scores, labels: list[int]) -> list[Explanation]:
        """Where all margins together make the scores: every margin is looked up, one is explained."""
        trees = self._model.trees
        values = [each(encoded) for each in self._contributions]
        totals = self._model.base + np.stack([each.sum(axis=1) for each in values], axis=1)
        gaps = np.abs(transformed(totals, trees.post) - scores)
        return [
            self._explanation(label, self._base[label], values[label][row], float(gaps[row, label]))
            for row, label in enumerate(labels)
        ]

    def _explanation(
        self, label: int | None, base: float, values: NDArray[np.float64], gap: float
    ) -> Explanation:
        return Explanation(NAME, True, self._model.output, label, base, values, additivity_gap=gap)


def _one_margin(trees: TreeEnsemble) -> TreeEnsemble:
    """A binary model's trees with one margin where that says all: a softmax of two, or a lone probability."""
    if trees.outputs == 1:
        return replace(trees, complement=True)
    if trees.post != "softmax" or trees.outputs != 2 or trees.aggregate not in ("sum", "average"):
        return trees
    return replace(
        trees,
        leaf_values=trees.leaf_values[:, 1:] - trees.leaf_values[:, :1],
        base=trees.base[1:] - trees.base[:1],
        post="logistic",
        complement=True,
    )


def _logistic(margin: float) -> float:
    small = math.exp(-abs(margin))
    return (small if margin < 0 else 1.0) / (1 + small)
