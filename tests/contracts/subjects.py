"""Models of every kind that a bundle may hold, small enough to try every method on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.game import Linear, Structure, Subject
from service.domain.explainers.image_players import players_of
from service.domain.schema import Feature, FeatureBatch, ModelSpec, Schema, Scores
from service.domain.trees import Mode
from tests.domain.explainers.deciders import decider, numbers
from tests.domain.explainers.forests import forest, rows_of
from tests.domain.explainers.networks import Network, picture, table
from tests.domain.explainers.tree_subjects import tree_subject

THRESHOLDS = (Mode.LEQ, Mode.LT, Mode.GTE, Mode.GT)
"""The tests that shap's C code can read."""
ASKED = 3
"""Rows of each subject that are explained."""


@dataclass(frozen=True, eq=False)
class Posed:
    """A model and rows to explain."""

    subject: Subject
    rows: FeatureBatch


def _trees_on_columns() -> Posed:
    """Binary, one ONNX input for each column: counts, words and amounts, of which two may be missing."""
    rng = np.random.default_rng(1)
    trees = forest(rng, columns=4, post="logistic", complement=True)
    features = (
        Feature("children", "int64"),
        Feature("home", "string", ("rent", "owner", "parents"), missing=True),
        Feature("income", "float", missing=True),
        Feature("debt", "float"),
    )
    spec = ModelSpec("columns", "1", "binary", Schema(features, "columns"), ("no", "yes"))
    made = rows_of(rng, 30 + ASKED, 4, missing=0).astype(np.float64)
    made[:, 0], made[:, 1] = rng.integers(0, 4, len(made)), rng.integers(0, 3, len(made))
    made[::4, 1] = made[1::5, 2] = np.nan

    def encode(rows: FeatureBatch) -> NDArray[np.float32]:
        return rows.astype(np.float32)

    def predict(rows: FeatureBatch) -> Scores:
        if not (rows[:, :2] % 1 == 0)[~np.isnan(rows[:, :2])].all():
            raise ValueError("half a child, or a category that does not exist")
        return trees.scores(trees.margins(encode(rows))).astype(np.float32)

    structure = Structure(encode, np.arange(4), trees)
    return _posed(Subject(spec, predict, made, players_of(spec), structure))


def _trees_of_three_classes() -> Posed:
    rng = np.random.default_rng(2)
    trees = forest(rng, outputs=3, modes=THRESHOLDS, post="softmax")
    return _posed(tree_subject(trees, rows_of(rng, 30 + ASKED), "multiclass"))


def _trees_for_a_value() -> Posed:
    rng = np.random.default_rng(3)
    trees = forest(rng, modes=THRESHOLDS, aggregate="average")
    return _posed(tree_subject(trees, rows_of(rng, 40 + ASKED)))


def _weights(classes: int) -> Posed:
    """A linear model; of two classes one margin decides, of more a softmax."""
    rng = np.random.default_rng(4)
    head = Linear(
        rng.normal(size=(6, classes if classes > 2 else 1)),
        rng.normal(size=classes if classes > 2 else 1),
        "softmax" if classes > 2 else "logistic",
    )
    background = rng.normal(size=(40 + ASKED, 6)).astype(np.float32)

    def formula(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        margins: NDArray[np.float64] = rows @ head.weights + head.intercepts
        return margins if classes > 2 else margins[:, 0]

    structure = Structure(lambda rows: rows, np.arange(6), head)
    return _posed(replace(decider(formula, background, numbers(6)), structure=structure))


def _network() -> Posed:
    """A value computed from a table; its derivative is known."""
    return _posed(table(width=5, rows=40 + ASKED))


@dataclass
class _Seeing(Network):
    """A network whose feature maps are the picture itself."""

    def maps(self, rows: FeatureBatch, label: int) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        shape = (len(rows), 1, 6, 6)
        return rows.reshape(shape), self(rows, label).reshape(shape)


def _picture() -> Posed:
    subject = picture(shape=(1, 6, 6), classes=3, rows=40 + ASKED)
    assert isinstance(subject.gradient, Network)
    seeing = _Seeing(subject.gradient.inner, subject.gradient.outer, 3)
    return _posed(replace(subject, gradient=seeing, predict=seeing.predict))


def _one_column() -> Posed:
    background = np.random.default_rng(5).normal(size=(30 + ASKED, 1))
    return _posed(decider(lambda rows: 2 * rows[:, 0], background, numbers(1)))


def _always_the_same() -> Posed:
    background = np.random.default_rng(6).normal(size=(30 + ASKED, 4))
    return _posed(decider(lambda rows: np.full(len(rows), 0.3), background, numbers(4)))


def _thirty_columns() -> Posed:
    rng = np.random.default_rng(7)
    inner, outer = rng.normal(size=(30, 8)) / 4, rng.normal(size=8)
    background = rng.normal(size=(60 + ASKED, 30))
    return _posed(decider(lambda rows: np.tanh(rows @ inner) @ outer, background, numbers(30)))


def _sure_of_itself() -> Posed:
    """Three classes with a derivative, often with a probability of 1: log-odds say little there."""
    posed = _posed(table(width=5, classes=3, rows=40 + ASKED))
    network = posed.subject.gradient
    assert isinstance(network, Network)
    bold = Network(network.inner, 30 * network.outer, 3)
    return replace(
        posed, subject=replace(posed.subject, gradient=bold, predict=bold.predict, output="probability")
    )


def _posed(subject: Subject) -> Posed:
    """The last rows of the background are those to explain; nobody may write to either."""
    background, rows = subject.background[:-ASKED].copy(), subject.background[-ASKED:].copy()
    for array in (background, rows):
        array.setflags(write=False)
    return Posed(replace(subject, background=background), rows)


MAKERS: Mapping[str, Callable[[], Posed]] = {
    "trees on columns": _trees_on_columns,
    "trees of three classes": _trees_of_three_classes,
    "trees for a value": _trees_for_a_value,
    "weights of two classes": lambda: _weights(2),
    "weights of three classes": lambda: _weights(3),
    "network": _network,
    "picture": _picture,
    "one column": _one_column,
    "always the same": _always_the_same,
    "thirty columns": _thirty_columns,
    "sure of itself": _sure_of_itself,
}
