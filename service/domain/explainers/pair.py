"""Two models explained side by side, so that only the models differ.

Both are explained for the same class and relative to the same rows, production's background. Exact methods
need no more. A sampling method plays both games over production's players with one seed, hence with the same
coalitions: what sampling adds to both cancels in the difference, and two equal models differ by nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from service.domain.disagreement.reasons import Attributions, ReasonsComparison, aligned, compare_reasons
from service.domain.explainers.game import (
    Ask,
    Explainer,
    Explanation,
    Method,
    OutputKind,
    Players,
    Subject,
    Unsuitable,
)
from service.domain.explainers.offer import Offer, offer
from service.domain.projection import Projection
from service.domain.schema import FeatureBatch, ModelSpec, Scores, label_indices
from service.errors import DeadlineError

EXACT = ("tree-exact", "linear-exact")
"""Exact for raw scores: any two of them can be compared, and take many rows at once."""
SAMPLED = "permutation"
"""What explains any model."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One of the two models."""

    explain: Explainer
    players: Players
    view: Projection
    """Production's canonical rows to the rows that ``explain`` takes."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Production and one candidate, ready to be explained for the same rows."""

    method: str
    """The common method, or production's and the candidate's."""
    spec: ModelSpec
    """Production's."""
    production: Side
    candidate: Side
    ask: Ask
    exact: bool

    def compare(self, rows: FeatureBatch, scores: Scores, due: float) -> ReasonsComparison:
        """How the reasons differ, for the rows that could be explained before ``due``, in order.

        Args:
            rows: production's canonical rows, [rows, width].
            scores: what production answered, [rows, outputs]; of more than two classes that one is explained.
            due: ``time.monotonic()`` at which no further row is begun.

        Raises:
            Unsuitable: one of the models cannot be explained for these rows.
            InferenceError: one of the models fails on rows that were made up to explain it.
        """
        return self.reasons(*self.explain(rows, scores, due))

    def explain(
        self, rows: FeatureBatch, scores: Scores, due: float
    ) -> tuple[list[Explanation], list[Explanation]]:
        """Both models' explanations of the rows that could be explained before ``due``; see ``compare``."""
        first: list[Explanation] = []
        second: list[Explanation] = []
        for part, ask in self._asks(rows, scores):
            try:
                now = time.monotonic()
                half = due if self.exact else now + (due - now) / 2  # the candidate needs time as well
                before = self.production.explain(self.production.view(part), ask, half)
                after = self.candidate.explain(self.candidate.view(part), ask, due)
            except DeadlineError:
                break
            for one, other in zip(before, after, strict=True):
                if one.rows_evaluated == other.rows_evaluated:  # else one was cut short: other coalitions
                    first.append(one)
                    second.append(other)
        return first, second

    def reasons(self, first: list[Explanation], second: list[Explanation]) -> ReasonsComparison:
        """How the reasons in two lists of explanations of the same rows differ."""
        return compare_reasons(self.production.players.names, *self.attributions(first, second))

    def attributions(
        self, first: list[Explanation], second: list[Explanation]
    ) -> tuple[Attributions, Attributions]:
        """Both lists as matrices over production's players."""
        features = self.production.players.names
        return _values(first, self.production, features), _values(second, self.candidate, features)

    def _asks(self, rows: FeatureBatch, scores: Scores) -> Iterator[tuple[FeatureBatch, Ask]]:
        """What is explained in one call: everything, or row by row where a row takes long."""
        if self.exact:
            yield rows, self.ask
            return
        labels = label_indices(self.spec, scores)
        for index, label in enumerate(labels):
            several = self.spec.task == "multiclass"
            yield rows[index : index + 1], replace(self.ask, label=label) if several else self.ask


def pair(
    production: Offer,
    candidate: Subject,
    project: Projection,
    methods: Sequence[Method],
    *,
    forbidden: Mapping[str, str] | None = None,
    max_evals: int,
    seed: int = 0,
) -> Pair:
    """Prepares the two models for a common method: exact where both have one, else sampled.

    Models of more than two classes are sampled: their raw scores are only defined up to what all classes
    share, so two models that answer the same may have different ones, whereas the log-odds of a class are
    what is served.

    Args:
        production: the methods that can explain production.
        candidate: the candidate in its own canonical columns.
        project: production's canonical rows to the candidate's.
        methods: all that may be used, of ``EXACT`` and ``SAMPLED``.
        forbidden: methods that must not explain the candidate, with the reason.
        max_evals: model rows that a sampling method may evaluate for one row of one model.
        seed: of the coalitions.

    Raises:
        Unsuitable: there is no common method; says what is in the way.
    """
    subject = production.subject
    methods = comparable(methods, subject.spec)
    label = 1 if subject.spec.task == "binary" else None
    ask = Ask(label=label, max_evals=max_evals, seed=seed)
    found = _exact(production, candidate, project, methods, forbidden, ask)
    return found or _sampled(production, candidate, project, methods, forbidden, ask)


def comparable(methods: Sequence[Method], spec: ModelSpec) -> list[Method]:
    """Those of ``methods`` by which models like ``spec`` can be compared; only they need to be prepared."""
    only_sampled = spec.task == "multiclass" or spec.schema.layout == "image"
    return [method for method in methods if method.name not in EXACT or not only_sampled]


def _exact(
    production: Offer,
    candidate: Subject,
    project: Projection,
    methods: Sequence[Method],
    forbidden: Mapping[str, str] | None,
    ask: Ask,
) -> Pair | None:
    """Each model by its own exact method, or None where one has none."""
    subject = production.subject
    a = _first_exact(production)
    if a is None:
        return None
    own = replace(candidate, background=project(subject.background))
    offered = offer(own, [method for method in methods if method.name in EXACT], forbidden)
    b = _first_exact(offered)
    if b is None:
        return None
    first = Side(production.explainers[a], subject.players, _as_it_is)
    second = Side(offered.explainers[b], own.players, project)
    if _output(first, subject, ask) != _output(second, subject, ask):
        return None  # a log-odds cannot be compared with a probability
    return Pair(a if a == b else f"{a} and {b}", subject.spec, first, second, ask, exact=True)


def _sampled(
    production: Offer,
    candidate: Subject,
    project: Projection,
    methods: Sequence[Method],
    forbidden: Mapping[str, str] | None,
    ask: Ask,
) -> Pair:
    """Both models by the sampling method, the candidate as a game over production's players."""
    subject = production.subject
    seen = Subject(
        spec=replace(candidate.spec, schema=subject.spec.schema),
        predict=lambda rows: candidate.predict(project(rows)),
        background=subject.background,
        players=subject.players,
    )
    offered = offer(seen, [method for method in methods if method.name == SAMPLED], forbidden)
    sides = []
    for found in (production, offered):
        if SAMPLED not in found.explainers:
            reason = found.refused.get(SAMPLED, "it is not among the methods")
            raise Unsuitable(f"{SAMPLED} cannot explain {found.subject.spec.tag}: {reason}")
        sides.append(Side(found.explainers[SAMPLED], subject.players, _as_it_is))
        _output(sides[-1], subject, ask)  # raises where max_evals is too few
    first, second = sides
    return Pair(SAMPLED, subject.spec, first, second, ask, exact=False)


def _first_exact(found: Offer) -> str | None:
    return next((name for name in EXACT if name in found.explainers), None)


def _output(side: Side, production: Subject, ask: Ask) -> OutputKind:
    """What the method of one side explains where nobody asks for anything else."""
    return side.explain(side.view(production.background[:1]), ask, float("inf"))[0].output


def _values(found: list[Explanation], side: Side, features: Sequence[str]) -> Attributions:
    names = side.players.names
    values = np.array([each.values for each in found]).reshape(len(found), len(names))
    return aligned(values, names, features)


def _as_it_is(rows: FeatureBatch) -> FeatureBatch:
    return rows
