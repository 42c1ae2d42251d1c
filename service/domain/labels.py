"""What turned out to be true of answered rows: which labels are news, and which rows they belong to.

A request's labels may come in any order with its answers, hours or days later, and in several deliveries:
a label that is left open (None) may be filled in by a later one. One that was given is final.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.observation import Arm
from service.domain.schema import ModelSpec, Scores, Task, label_indices

Label: TypeAlias = str | float | None
"""A class by its name, the value of a regression, or None for one that is not known yet."""
Labels: TypeAlias = tuple[Label, ...]
"""One for each row of a request, in the request's order."""

MOST_SLICES = 32
"""A row's slices are the bits of one number."""


class LabelConflict(Exception):
    """A label contradicts one that was given before, or there are more or fewer than before; says which."""


class LabelCount(Exception):
    """There are not as many labels as the request had rows; says both."""


@dataclass(frozen=True, slots=True)
class Answerer:
    """A model in the role in which it answered; equal wherever all that matters for labels is."""

    tag: str
    arm: Arm
    task: Task
    classes: tuple[str, ...]
    """Empty for a regression."""
    threshold: float
    slices: tuple[str, ...]
    """Names of the slices that its rows were sorted into, at most ``MOST_SLICES``."""
    judged_by: str = ""
    """What made the evidence of its rows, and alone can judge it; empty where nothing did."""

    @property
    def outputs(self) -> int:
        """Columns of its scores."""
        return len(self.classes) or 1

    def predicted(self, scores: Scores) -> NDArray[np.intp]:
        """The class that it answered for each row, [rows]; zeros for a regression."""
        return np.array(label_indices(self, scores), dtype=np.intp)


def answerer(spec: ModelSpec, arm: Arm, slices: Sequence[str], judged_by: str = "") -> Answerer:
    """A model in one of the two roles, its rows sorted into ``slices``, with evidence of ``judged_by``."""
    return Answerer(spec.tag, arm, spec.task, spec.classes, spec.threshold, tuple(slices), judged_by)


class Record(NamedTuple):
    """What was answered to one request, or to a part of its rows; a tuple because one is made per request."""

    request_id: str
    first: int
    """Rows of the request before these."""
    total: int
    """Rows of the whole request."""
    answered_at: float
    """Seconds since 1970."""
    answerer: Answerer
    scores: Scores
    """[rows, outputs]"""
    evidence: NDArray[np.float64] | None = None
    """What a conformal measure needs to judge any label of these rows later, [rows, k]."""
    slices: NDArray[np.uint32] | None = None
    """Bit i: the row is in the i-th of ``answerer.slices``, [rows]; None where there are no slices."""
    joined: int = 0
    """It was joined with the deliveries of its request whose number is below."""
    id: int = 0
    """The store's name for it; 0 before it is stored."""


class Given(NamedTuple):
    """Labels of one request as somebody posted them."""

    request_id: str
    labels: Labels
    labelled_at: float
    """Seconds since 1970."""


class Filed(NamedTuple):
    """What became of labels that were posted."""

    matched: bool
    """Whether the answer they belong to is known; if not, they are kept until it is."""
    fresh: bool
    """Whether any of them was new."""


class Delivery(NamedTuple):
    """Labels of one request as they came, without those that had come before."""

    id: int
    """The store's name for it; later ones have larger names."""
    request_id: str
    number: int
    """Among those of its request, from 0."""
    total: int
    """Rows of the request that it means."""
    labels: Mapping[int, Label]
    """By row; those that are not known yet are left out, as there may be many deliveries with few each."""
    labelled_at: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Rows that one model answered in one role and whose truth is now known, in the order it became known."""

    answerer: Answerer
    scores: Scores
    """As served, [rows, outputs]."""
    labels: NDArray[np.intp] | NDArray[np.float64]
    """[rows]: indices into ``answerer.classes``, or the values of a regression."""
    predicted: NDArray[np.intp]
    """[rows]: the answered class; zeros for a regression."""
    evidence: NDArray[np.float64] | None
    """[rows, k], as it was when the answer was recorded; None where none was."""
    slices: NDArray[np.uint32]
    """[rows]: bit i says that the row is in the i-th of ``answerer.slices``."""
    answered_at: NDArray[np.float64]
    """[rows], seconds since 1970."""
    labelled_at: NDArray[np.float64]
    """[rows], seconds since 1970."""

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def correct(self) -> NDArray[np.bool_] | None:
        """[rows]: whether the answered class is the true one; None for a regression, which has no classes."""
        return self.predicted == self.labels if self.answerer.classes else None

    def members(self) -> dict[str, NDArray[np.bool_]]:
        """Which rows are in which slice: one mask [rows] per slice."""
        return {name: self.slices >> bit & 1 == 1 for bit, name in enumerate(self.answerer.slices)}


Learn: TypeAlias = Callable[[Sequence[Labelled], Mapping[str, bytes]], Mapping[str, bytes]]
"""Takes what was just joined and everything learnt before, by key; gives what changed of it.

Both are settled in one step with the mark that the rows are joined, so that no row is learnt from twice and
none is left out, whatever dies. It may be called again with the same rows where that step fails, so what it
gives must depend on its arguments alone.
"""


class Joined(NamedTuple):
    """What one look at the store brought together."""

    batches: tuple[Labelled, ...] = ()
    misfits: int = 0
    """Deliveries that came before their request's record and turned out not to fit it."""
    paired: int = 0
    """Rows whose truth was settled for both models of a comparison; once for each comparison."""
    more: bool = False
    """Whether there may be more to join at once."""


def misfits(task: Task, classes: Sequence[str], labels: Sequence[object]) -> list[tuple[int, str]]:
    """Positions of labels that the model could not have answered, and what was expected there."""
    if task == "regression":
        return [
            (index, "expected a finite number or null")
            for index, label in enumerate(labels)
            if label is not None and not _is_number(label)
        ]
    expected = f"expected one of {', '.join(classes)}, or null"
    known = frozenset(classes)
    return [
        (index, expected)
        for index, label in enumerate(labels)
        if label is not None and not (isinstance(label, str) and label in known)
    ]


def news(given: Labels, before: Sequence[Labels], total: int | None) -> Labels | None:
    """Of ``given``, the labels that no delivery ``before`` had; None where there is not one.

    Args:
        given: what has come now.
        before: earlier deliveries of the same request.
        total: rows of the request, or None where its record is not known.

    Raises:
        LabelConflict: a label contradicts an earlier one.
        LabelCount: there are not ``total`` labels.
    """
    if total is not None and len(given) != total:
        raise LabelCount(f"expected {total} labels, one for each row of the request, found {len(given)}")
    known: list[Label] = [None] * len(given)
    for labels in before:
        if len(labels) != len(given):
            raise LabelConflict(f"{len(labels)} labels were given before, not {len(given)}")
        known = [old if new is None else new for old, new in zip(known, labels, strict=True)]
    for index, (old, new) in enumerate(zip(known, given, strict=True)):
        if old is not None and new is not None and old != new:
            raise LabelConflict(f"label {index} was given before as {old!r}; a label is final")
    fresh = tuple(new if old is None else None for old, new in zip(known, given, strict=True))
    return fresh if any(label is not None for label in fresh) else None


def _is_number(label: object) -> bool:
    return isinstance(label, float | int) and not isinstance(label, bool) and abs(label) <= sys.float_info.max
