"""Small models whose Shapley values are known in closed form, and a slow, plain enumeration as an oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.game import Players, Subject, Values, value_function
from service.domain.schema import Feature, FeatureBatch, ModelSpec, Schema, Scores

Formula = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""float64 rows [rows, width] to one number each, [rows]."""

NEVER = float("inf")
"""A ``due`` that is never reached."""


@dataclass(frozen=True, eq=False)
class Game:
    """A subject and the Shapley values of any row, [rows, players], known without enumerating."""

    name: str
    subject: Subject
    rows: FeatureBatch
    """Rows worth explaining."""
    shapley: Callable[[FeatureBatch], NDArray[np.float64]]

    @property
    def tolerance(self) -> float:
        """What float32 scores can leave of an exact method's error."""
        return 1e-5


def subject_of(
    formula: Formula, background: NDArray[Any], groups: Sequence[Sequence[int]] = (), binary: bool = False
) -> Subject:
    """A regression model that answers ``formula``, or a binary one whose log-odds it is.

    Args:
        formula: the model.
        background: reference rows, [rows, width].
        groups: the columns of each player; empty makes every column a player.
        binary: classes ``no`` and ``yes``.
    """
    width = background.shape[1]
    owned = [np.array(group, dtype=np.intp) for group in groups or [[column] for column in range(width)]]
    schema = Schema(tuple(Feature(f"x{column}", "float", missing=True) for column in range(width)), "tensor")
    classes = ("no", "yes") if binary else ()
    spec = ModelSpec("toy", "1", "binary" if binary else "regression", schema, classes)

    def predict(rows: FeatureBatch) -> Scores:
        raw = formula(rows.astype(np.float64))
        if not binary:
            return raw.astype(np.float32)[:, None]
        yes = 1 / (1 + np.exp(-raw))
        return np.column_stack([1 - yes, yes]).astype(np.float32)

    players = Players(tuple(f"p{index}" for index in range(len(owned))), tuple(owned))
    return Subject(spec, predict, np.ascontiguousarray(background, dtype=np.float32), players)


def linear(width: int = 6, rows: int = 40, seed: int = 0, groups: Sequence[Sequence[int]] = ()) -> Game:
    """w.x: every column gives w (x - mean of the background); column 1 is a dummy."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=width)
    weights[1] = 0
    background = rng.normal(size=(rows, width)).astype(np.float32)
    subject = subject_of(lambda x: x @ weights, background, groups)

    def shapley(asked: FeatureBatch) -> NDArray[np.float64]:
        columns = weights * (asked.astype(np.float64) - background.astype(np.float64).mean(axis=0))
        return np.stack([columns[:, own].sum(axis=1) for own in subject.players.columns], axis=1)

    return Game("linear", subject, rng.normal(size=(3, width)).astype(np.float32), shapley)


def additive(width: int = 5, rows: int = 30, seed: int = 1) -> Game:
    """A sum of sines of single columns."""
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.5, 2, size=width)
    background = rng.normal(size=(rows, width)).astype(np.float32)

    def parts(x: NDArray[np.float64]) -> NDArray[np.float64]:
        waves: NDArray[np.float64] = np.sin(scale * x)
        return waves

    def shapley(asked: FeatureBatch) -> NDArray[np.float64]:
        return parts(asked.astype(np.float64)) - parts(background.astype(np.float64)).mean(axis=0)

    subject = subject_of(lambda x: parts(x).sum(axis=1), background)
    return Game("additive", subject, rng.normal(size=(3, width)).astype(np.float32), shapley)


def unanimity(width: int = 6, carriers: int = 4, rows: int = 25, seed: int = 2) -> Game:
    """1 where the first ``carriers`` bits are all set: what a background row lacks of them shares alike."""
    rng = np.random.default_rng(seed)
    background = rng.integers(0, 2, size=(rows, width)).astype(np.float32)

    def shapley(asked: FeatureBatch) -> NDArray[np.float64]:
        if not (asked[:, :carriers] == 1).all():
            raise ValueError("known only where every carrier is set")
        unset = background[:, :carriers] == 0
        share = unset / np.maximum(unset.sum(axis=1, keepdims=True), 1)
        one = np.concatenate([share.mean(axis=0), np.zeros(width - carriers)])
        return np.tile(one, (len(asked), 1))

    subject = subject_of(lambda x: x[:, :carriers].min(axis=1), background)
    asked = rng.integers(0, 2, size=(3, width)).astype(np.float32)
    asked[:, :carriers] = 1
    return Game("unanimity", subject, asked, shapley)


def xor(width: int = 5, rows: int = 25, seed: int = 3) -> Game:
    """Parity of the bits: the bits in which a row differs from a background row share the change alike."""
    rng = np.random.default_rng(seed)
    background = rng.integers(0, 2, size=(rows, width)).astype(np.float32)

    def shapley(asked: FeatureBatch) -> NDArray[np.float64]:
        differs = asked[:, None, :] != background[None]  # [asked, background, width]
        change = asked.sum(axis=1)[:, None] % 2 - background.sum(axis=1)[None] % 2
        share = differs / np.maximum(differs.sum(axis=2, keepdims=True), 1)
        found: NDArray[np.float64] = (share * change[:, :, None]).mean(axis=1)
        return found

    subject = subject_of(lambda x: x.sum(axis=1) % 2, background)
    return Game("xor", subject, rng.integers(0, 2, size=(3, width)).astype(np.float32), shapley)


def grouped() -> Game:
    """The linear game whose six columns belong to three players."""
    return replace(linear(groups=[[0, 5], [1], [2, 3, 4]]), name="grouped")


def known_games() -> list[Game]:
    """One of each."""
    return [linear(), additive(), unanimity(), xor(), grouped()]


def tangled(width: int = 7, rows: int = 50, seed: int = 4, binary: bool = False) -> Subject:
    """Interactions of all orders and no closed form: for comparison with ``enumerated``."""
    rng = np.random.default_rng(seed)
    inner = rng.normal(size=(width, 2 * width)) / np.sqrt(width)
    outer = rng.normal(size=2 * width)
    background = rng.normal(size=(rows, width))
    return subject_of(lambda x: np.tanh(2 * x @ inner) @ outer, background, binary=binary)


def enumerated(subject: Subject, row: FeatureBatch, values: Callable[[FeatureBatch], Values]) -> Values:
    """Shapley values by the textbook sum over coalitions; for at most about 10 players.

    Args:
        subject: gives the players and the background.
        row: the explained row, [width].
        values: the explained number of rows, see ``game.value_function``.
    """
    players = len(subject.players)
    worth: dict[frozenset[int], float] = {}
    for size in range(players + 1):
        for members in combinations(range(players), size):
            mixed = subject.background.copy()
            for player in members:
                own = subject.players.columns[player]
                mixed[:, own] = row[own]
            worth[frozenset(members)] = float(values(mixed).mean())
    shares = np.zeros(players)
    for player in range(players):
        for coalition, value in worth.items():
            if player not in coalition:
                weight = factorial(len(coalition)) * factorial(players - len(coalition) - 1)
                gain = worth[coalition | {player}] - value
                shares[player] += weight / factorial(players) * gain
    return shares


def truth(subject: Subject, rows: FeatureBatch) -> NDArray[np.float64]:
    """``enumerated`` for each row in the output that sampling methods choose; [rows, players]."""
    label = 1 if subject.spec.classes else None
    values = value_function(subject, subject.own_output(), label)
    return np.stack([enumerated(subject, row, values) for row in rows])


@dataclass
class Counter:
    """A ``predict`` that counts its rows and calls."""

    inner: Callable[[FeatureBatch], Scores]
    rows: int = 0
    calls: int = 0
    seen: list[int] = field(default_factory=list)
    """Rows of each call."""

    def __call__(self, rows: FeatureBatch) -> Scores:
        self.rows += len(rows)
        self.calls += 1
        self.seen.append(len(rows))
        return self.inner(rows)


def counted(subject: Subject) -> tuple[Subject, Counter]:
    """The same model, and what counts its use."""
    counter = Counter(subject.predict)
    return replace(subject, predict=counter), counter
