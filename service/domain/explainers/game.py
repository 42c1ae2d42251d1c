"""What every explanation method is given, and what it gives back.

An explanation divides the difference between a row's output and the average output over the background rows
among *players*: the caller's columns, or patches of pixels for an image. Attributions are Shapley values of
the interventional game v(S) = E_b[f(x on S, b elsewhere)] wherever a method says nothing else
(Lundberg & Lee, arXiv 1705.07874; Janzing et al., arXiv 1910.13413).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import FeatureBatch, ModelSpec, Scores

OutputKind: TypeAlias = Literal["margin", "probability", "value"]
"""What is explained: log-odds or another raw score, a class's probability, or a regression's value."""

Mutability: TypeAlias = Literal["free", "fixed", "increase", "decrease"]
"""How a counterfactual may change a column: at will, never, or in one direction."""

Values: TypeAlias = NDArray[np.float64]
"""One number for each player, [players]."""


CERTAIN_SHARE = 0.01
"""See ``natural_output``."""


class Unsuitable(Exception):
    """A method cannot explain this model, or not in the way that was asked for; says why in a sentence."""


@dataclass(frozen=True, slots=True)
class Players:
    """Who shares an explanation. Every canonical column belongs to exactly one player."""

    names: tuple[str, ...]
    columns: tuple[NDArray[np.intp], ...]
    """Canonical columns of each player."""

    def __len__(self) -> int:
        return len(self.names)

    def owner(self) -> NDArray[np.intp]:
        """The player of each canonical column, [width]."""
        found = np.empty(sum(len(own) for own in self.columns), dtype=np.intp)
        for player, own in enumerate(self.columns):
            found[own] = player
        return found


@dataclass(frozen=True, slots=True)
class Ask:
    """What the caller wants to know, beyond the rows."""

    method: str = "auto"
    output: OutputKind | None = None
    """None leaves the choice to the method."""
    label: int | None = None
    """Index of the explained class; None is the second class of a binary model, else the row's own answer."""
    max_evals: int = 4000
    """Model rows that a method may evaluate for one explained row."""
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Why one row got its output."""

    method: str
    exact: bool
    """Whether ``values`` are the Shapley values of the background as a whole, but for rounding."""
    output: OutputKind
    label: int | None
    """Index of the explained class; None for regression."""
    base_value: float
    """Average output over the background, in units of ``output``."""
    values: Values
    """Contributions, [players], in units of ``output``; a method that divides nothing leaves it empty."""
    standard_errors: Values | None = None
    """Of ``values``, [players], all sources of error together; None where nothing was sampled."""
    additivity_gap: float | None = None
    """|base_value + sum(values) - output| in units of the served score; None where nothing is to add up."""
    rows_evaluated: int = 0
    """Model rows that were evaluated for this explanation."""
    off_manifold_share: float | None = None
    """Share of the evaluated rows that look like nothing in the background; None where none were made up, and
    of methods that follow a gradient or search for rows or rules of their own."""
    degraded: str | None = None
    """What falls short of what was asked for, in a sentence."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """What only this method says, ready for JSON."""


class Gradient(Protocol):
    """The derivative of a model's margins (log-odds, see ``explained``) or its value by its input."""

    def __call__(self, rows: FeatureBatch, label: int) -> NDArray[np.float32]:
        """d(margin of ``label``) / d(input) at each row, [rows, width]; label 0 for regression."""

    def maps(self, rows: FeatureBatch, label: int) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """The last convolution's feature maps and the margin's slopes by them, [rows, channels, *spatial].

        Maps are taken after the normalisation and activation that directly follow the convolution.

        None for a graph without convolutions.
        """


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear head: margins = encoded @ weights + intercepts."""

    weights: NDArray[np.float64]
    """[columns, outputs]; for a binary model one column, the second class's."""
    intercepts: NDArray[np.float64]
    """[outputs]"""
    post: Literal["none", "logistic", "softmax"]
    """From margins to scores."""


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """A graph understood: an encoder of single columns, then a head that methods can read."""

    encode: Callable[[FeatureBatch], NDArray[np.floating[Any]]]
    """Canonical rows to the head's input, [rows, columns]."""
    sources: NDArray[np.intp]
    """The one canonical column that each column of the head's input is made of, [columns]."""
    head: Any
    """``Linear``, or ``service.domain.trees.TreeEnsemble``."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A model with what methods need to explain it; made once at load."""

    spec: ModelSpec
    predict: Callable[[FeatureBatch], Scores]
    """The served model, any number of rows."""
    background: FeatureBatch
    """Reference rows, [rows, width]."""
    players: Players
    structure: Structure | None = None
    why_no_structure: str = "the graph is not one of trees or of a linear model"
    gradient: Gradient | None = None
    mutability: tuple[Mutability, ...] = ()
    """Of each canonical column; empty where all are free."""

    output: OutputKind | None = None
    """What is explained where nobody asks for anything else; see ``natural_output``."""

    def own_output(self) -> OutputKind:
        """What methods that read no graph explain where nobody asks for anything else."""
        return self.output or ("margin" if self.spec.classes else "value")


class Explainer(Protocol):
    """A method at work on one model. Pure: the same rows and ask give the same explanations."""

    def __call__(self, rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        """One explanation for each row.

        Args:
            rows: canonical rows, [rows, width].
            ask: what is asked for; ``ask.method`` is not looked at.
            due: ``time.monotonic()`` at which an answer must be there. A sampling method stops before it
                with wider errors and says so in ``degraded``.

        Raises:
            Unsuitable: it cannot explain this output, or these rows.
            DeadlineError: ``due`` passed and there is nothing honest to say.
        """


class ScoredExplainer(Explainer, Protocol):
    """What a quick method builds: it need not infer again what has been answered."""

    def explain_scored(self, rows: FeatureBatch, scores: Scores, ask: Ask) -> list[Explanation]:
        """One explanation for each row; ``scores`` [rows, outputs] are the served ones.

        Raises:
            Unsuitable: it cannot explain this output.
        """


@dataclass(frozen=True, slots=True)
class Method:
    """A method by name."""

    name: str
    build: Callable[[Subject], Explainer]
    """Prepares the method for one model; raises ``Unsuitable``."""
    quick: bool = False
    """Whether a row takes well under a millisecond, so that the edge may do it in a request's own time.

    Then it builds a ``ScoredExplainer``.
    """
    additive: bool = True
    """Whether its values add up to the output."""


def value_function(
    subject: Subject, output: OutputKind, label: int | None
) -> Callable[[FeatureBatch], Values]:
    """The explained number of each row, float64 [rows], as served.

    ``margin`` is the log-odds of the class, log p/(1-p): for logistic models that is the raw score itself.

    Raises:
        Unsuitable: the model has no such output.
    """
    spec = subject.spec
    if (output == "value") != (spec.task == "regression"):
        wanted = "value" if spec.task == "regression" else "margin or probability"
        raise Unsuitable(f"a {spec.task} model has no output {output!r}; ask for {wanted}")
    column = 0 if label is None else label

    def values(rows: FeatureBatch) -> Values:
        return explained(subject.predict(rows), output, column)

    return values


def explained(scores: Scores, output: OutputKind, column: int) -> Values:
    """The explained number of each row of served scores, float64 [rows]."""
    exact = scores.astype(np.float64)
    if output != "margin":
        return exact[:, column]
    smallest = float(np.finfo(np.float32).epsneg)  # what 1 - p of a float32 p cannot go below, but for 0
    others = exact[:, 1 - column] if exact.shape[1] == 2 else exact.sum(axis=1) - exact[:, column]
    odds: Values = np.log(np.maximum(exact[:, column], smallest)) - np.log(np.maximum(others, smallest))
    return odds


def natural_output(spec: ModelSpec, scores: Scores) -> OutputKind:
    """What is best explained of a model that answers ``scores`` [rows, outputs] for its background.

    Log-odds, unless more than ``CERTAIN_SHARE`` of the answers are certain: a probability of 0 or 1 has none.
    """
    if not spec.classes:
        return "value"
    certain = ((scores <= 0) | (scores >= 1)).any(axis=1).mean()
    return "probability" if certain > CERTAIN_SHARE else "margin"


def label_of(spec: ModelSpec, ask: Ask, answered: int) -> int | None:
    """The explained class of a row that was answered ``answered``; None for regression.

    Raises:
        Unsuitable: the model has no such class.
    """
    if ask.label is not None and not 0 <= ask.label < len(spec.classes):
        raise Unsuitable(f"{spec.tag} has no class number {ask.label}; it has {len(spec.classes)}")
    if not spec.classes:
        return None
    if ask.label is not None:
        return ask.label
    return 1 if spec.task == "binary" else answered
