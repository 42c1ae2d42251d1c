"""What methods that try out made-up rows share: which number is explained, mixed rows, and time.

A coalition is a set of players that take the explained row's values; the others take a background row's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from service.domain.explainers.background_mean import Average, Controls, controls_of
from service.domain.explainers.game import (
    Ask,
    OutputKind,
    Subject,
    Unsuitable,
    Values,
    explained,
    label_of,
    value_function,
)
from service.domain.schema import FeatureBatch, Scores, label_indices

RUN_ROWS = 8192
"""Most rows of one session run; beyond some hundreds a row gets no cheaper."""
RUN_BYTES = 64 << 20
"""Most bytes of one session run's input."""
RESERVE = 0.002
"""Seconds kept for what follows the last session run."""
SAFETY = 0.8
"""Share of the remaining time that a run may be expected to take."""

Members = NDArray[np.bool_]
"""Who is in each coalition, [..., players]."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One row and the number of it that is explained."""

    row: FeatureBatch
    """[width]"""
    output: OutputKind
    label: int | None
    served: float
    """The explained number of the row."""
    values: Callable[[FeatureBatch], Values]
    """The explained number of any rows."""
    background: Values
    """The explained number of each background row, [background rows]."""

    @property
    def base(self) -> float:
        return float(self.background.mean())

    def additivity_gap(self, attributions: Values, base: float | None = None) -> float:
        """|base + sum(attributions) - served| in units of the served score."""
        total = (self.base if base is None else base) + float(attributions.sum())
        if self.output == "margin":
            return float(abs(expit(total) - expit(self.served)))
        return abs(total - self.served)


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """A model with the scores of its background rows, which every explanation of it is relative to."""

    subject: Subject
    scores: Scores
    """Of each background row."""
    _controls: dict[tuple[OutputKind, int | None], Controls] = field(default_factory=dict)

    def controls(self, case: Case) -> Controls:
        """What the background's scores foretell; fitted when it is first asked for."""
        key = (case.output, case.label)
        if key not in self._controls:
            self._controls[key] = controls_of(self.subject, case.background)
        return self._controls[key]

    def cases(self, rows: FeatureBatch, ask: Ask) -> list[Case]:
        """What is explained of each row; evaluates each row once.

        Raises:
            Unsuitable: the model has no such output or class.
        """
        spec = self.subject.spec
        output = ask.output or self.subject.own_output()
        scores = self.subject.predict(rows)
        cases = []
        for index, answered in enumerate(label_indices(spec, scores)):
            label = label_of(spec, ask, answered)
            values = value_function(self.subject, output, label)
            served = explained(scores[index : index + 1], output, label or 0)
            background = explained(self.scores, output, label or 0)
            cases.append(Case(rows[index], output, label, float(served[0]), values, background))
        return cases


def ground_of(subject: Subject) -> Ground:
    """Scores the background once, in runs of bounded size."""
    rows = subject.background
    if not len(rows) or not len(subject.players):
        raise Unsuitable("an explanation needs background rows and players")
    step = run_rows(rows)
    parts = [subject.predict(rows[start : start + step]) for start in range(0, len(rows), step)]
    return Ground(subject, np.concatenate(parts))


def mix(row: FeatureBatch, others: FeatureBatch, members: Members, owner: NDArray[np.intp]) -> FeatureBatch:
    """``row`` where a column's owner is a member, else the row of ``others``; [..., width].

    Args:
        row: the explained row, [width].
        others: background rows, [..., width].
        members: who takes the explained row's values.
        owner: the player of each column, ``Players.owner()``.
    """
    mixed: FeatureBatch = np.where(members[..., owner], row, others)
    return mixed


def run_rows(rows: FeatureBatch) -> int:
    """Rows of one session run."""
    return max(1, min(RUN_ROWS, RUN_BYTES // max(1, int(rows.shape[1]) * rows.itemsize)))


def in_time(units: int, most: int, due: float, least: int = 2) -> Iterator[slice]:
    """Slices of ``range(units)`` that the caller has time for before ``due``.

    The time between two slices is taken as the cost of the first, so the caller does the work between them.
    The first slice is ``least`` units, to learn what a unit costs; without a deadline all are ``most``.

    Args:
        units: all there is to do.
        most: units of one slice, at most.
        due: ``time.monotonic()`` to be done at; infinite where nobody waits.
        least: units without which there is nothing to say; tried unless ``due`` has passed.
    """
    started = time.monotonic()
    done, now = 0, started
    while done < units:
        left = due - RESERVE - now
        if left <= 0:
            return
        size = most
        if np.isfinite(due):
            size = min(most, int(SAFETY * left / max((now - started) / done, 1e-9))) if done else least
        if size < 1:
            return
        step = slice(done, min(done + size, units))
        yield step
        done, now = step.stop, time.monotonic()


def shares_of_time(count: int, due: float) -> Iterator[float]:
    """A ``due`` for each of ``count`` rows: an equal part of what is left when its turn comes."""
    for index in range(count):
        now = time.monotonic()
        yield due if not np.isfinite(due) else now + (due - now) / (count - index)


def too_late(evaluated: int, planned: int) -> str:
    """What ``degraded`` says of an explanation that was stopped."""
    return f"stopped at the deadline after {evaluated} of {planned} model rows, so the errors are larger"


def errors_in_words(found: Average, rows: int) -> dict[str, object]:
    """Both standard errors and what each is of, ready for JSON."""
    return {
        "standard_errors_of": f"the exact values for all {rows} background rows",
        "sampling_standard_errors": found.standard_errors.tolist(),
        "background_standard_errors": found.background_standard_errors.tolist(),
    }
