"""Small games with a known answer, and the same model behind moved inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import factorial

import numpy as np
from numpy.typing import NDArray

from models.integrity.reduced import MOST_PLAYERS, lean, most_influential
from models.integrity.trial import Goal, Trial
from service.domain.explainers.game import Explainer, Gradient, Subject, Values
from service.domain.schema import FeatureBatch

Move = Callable[[FeatureBatch], FeatureBatch]


@dataclass(frozen=True, slots=True, eq=False)
class SmallGame:
    """A game of at most ``MOST_PLAYERS`` players who can change anything, and the method at work on it."""

    subject: Subject
    explainer: Explainer
    rows: FeatureBatch
    chosen: tuple[int, ...]
    """Players of ``subject`` who are not pinned to the row; the others' values are 0."""


def small_games(trial: Trial, rows: FeatureBatch) -> Iterator[SmallGame]:
    """The model reduced to its most influential players, so that enumeration is cheap.

    All other columns become one player. Where the method refuses players of several columns, they are pinned
    instead: the background has the row's own values there, in a game of its own for each of two rows.
    """
    small, explainer = trial.small
    if len(small.players) <= MOST_PLAYERS:
        yield SmallGame(small, explainer, rows, tuple(range(len(small.players))))
        return
    subject = lean(trial.subject, trial.effort.background, trial.seed)
    chosen = tuple(sorted(int(player) for player in most_influential(subject, trial.rows)[:MOST_PLAYERS]))
    free = np.concatenate([subject.players.columns[player] for player in chosen])
    for row in rows[:2]:
        background = np.repeat(row[None], len(subject.background), axis=0)
        background[:, free] = subject.background[:, free]
        pinned = replace(subject, background=background)
        yield SmallGame(pinned, trial.method.build(pinned), row[None], chosen)


def enumerate_game(
    trial: Trial, subject: Subject, row: FeatureBatch, goal: Goal, chosen: Sequence[int]
) -> tuple[Values, float]:
    """Shapley values by definition, and how far float32 scores may have moved them.

    Every one of the 2^n coalitions of the ``chosen`` players is evaluated with every background row; the
    values follow from the textbook weights (Shapley 1953), shared with no explanation method.

    Args:
        row: [width].
    """
    count, size = len(chosen), len(subject.background)
    member = (np.arange(2**count)[:, None] >> np.arange(count)) & 1 == 1
    takes = np.ones((len(member), subject.background.shape[1]), dtype=bool)
    for place, player in enumerate(chosen):
        takes[:, subject.players.columns[player]] = member[:, place, None]
    mixed = np.where(takes[:, None], row, subject.background[None]).reshape(-1, len(row))
    scores = subject.predict(np.ascontiguousarray(mixed))
    worth = trial.outputs(scores, goal).reshape(-1, size).mean(axis=1)
    noise = trial.noise(scores, goal).reshape(-1, size).mean(axis=1).max()
    sizes = member.sum(axis=1)
    joins = np.array([factorial(s) * factorial(count - s - 1) for s in range(count)] + [0]) / factorial(count)
    weights = np.where(member, joins[sizes - 1][:, None], -joins[sizes][:, None])
    return worth @ weights, 2 * float(noise)


@dataclass(frozen=True, slots=True)
class _MovedGradient:
    """The derivative through a linear move of the inputs, by the chain rule."""

    gradient: Gradient
    move: Move
    pull: Callable[[NDArray[np.float32]], NDArray[np.float32]]

    def __call__(self, rows: FeatureBatch, label: int) -> NDArray[np.float32]:
        return self.pull(self.gradient(self.move(rows), label))

    def maps(self, rows: FeatureBatch, label: int) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        return self.gradient.maps(self.move(rows), label)


def without(subject: Subject, player: int) -> Subject:
    """A model that ignores a player: it always sees the first background row's values there."""
    columns = subject.players.columns[player]
    fixed = subject.background[0, columns]

    def move(rows: FeatureBatch) -> FeatureBatch:
        moved = rows.copy()
        moved[:, columns] = fixed
        return moved

    def pull(gradient: NDArray[np.float32]) -> NDArray[np.float32]:
        pulled = gradient.copy()
        pulled[:, columns] = 0
        return pulled

    return _behind(subject, move, pull, columnwise=True)


def symmetric(subject: Subject, first: int, second: int) -> Subject:
    """A model that sees only the mean of two players, in the first one's place."""
    one, two = subject.players.columns[first], subject.players.columns[second]
    fixed = subject.background[0, two]

    def move(rows: FeatureBatch) -> FeatureBatch:
        moved = rows.copy()
        moved[:, one] = (rows[:, one] + rows[:, two]) / 2
        moved[:, two] = fixed
        return moved

    def pull(gradient: NDArray[np.float32]) -> NDArray[np.float32]:
        pulled = gradient.copy()
        pulled[:, one] = gradient[:, one] / 2
        pulled[:, two] = gradient[:, one] / 2
        return pulled

    return _behind(subject, move, pull, columnwise=False)


def _behind(
    subject: Subject,
    move: Move,
    pull: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    *,
    columnwise: bool,
) -> Subject:
    structure = subject.structure if columnwise else None
    if structure is not None:
        encode = structure.encode
        structure = replace(structure, encode=lambda rows: encode(move(rows)))
    return replace(
        subject,
        predict=lambda rows: subject.predict(move(rows)),
        structure=structure,
        why_no_structure="a model that mixes two columns is not one of single columns",
        gradient=None if subject.gradient is None else _MovedGradient(subject.gradient, move, pull),
    )
