"""Small networks in numpy with their derivatives in closed form, and counters of what is asked of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.game import Gradient, Players, Subject
from service.domain.explainers.image_players import players_of
from service.domain.schema import Feature, FeatureBatch, ModelSpec, Schema, Scores

NEVER = float("inf")


@dataclass
class Network:
    """Margins of tanh(x @ inner) @ outer: log-odds of softmax for classes, a value without."""

    inner: NDArray[np.float64]
    """[width, hidden]"""
    outer: NDArray[np.float64]
    """[hidden, outputs]"""
    classes: int = 0
    rows: int = 0
    """Asked for so far."""
    seconds: float = 0.0
    """That a row takes."""

    def logits(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        return np.tanh(rows.astype(np.float64) @ self.inner) @ self.outer

    def predict(self, rows: FeatureBatch) -> Scores:
        raw = self.logits(rows)
        if not self.classes:
            return raw.astype(np.float32)
        shares = np.exp(raw - raw.max(axis=1, keepdims=True))
        return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)

    def __call__(self, rows: FeatureBatch, label: int) -> NDArray[np.float32]:
        self.rows += len(rows)
        done = time.monotonic() + self.seconds * len(rows)
        while time.monotonic() < done:
            pass
        bend = 1 - np.tanh(rows.astype(np.float64) @ self.inner) ** 2
        weights = np.broadcast_to(self.outer[:, label], bend.shape)
        if self.classes:
            others = np.exp(self.logits(rows))
            others[:, label] = 0
            others /= others.sum(axis=1, keepdims=True)
            weights = self.outer[:, label] - others @ self.outer.T
        return ((bend * weights) @ self.inner.T).astype(np.float32)

    def maps(self, rows: FeatureBatch, label: int) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        return None


def table(width: int = 6, classes: int = 0, rows: int = 60, seed: int = 0, scale: float = 1.0) -> Subject:
    """A network on a table of numbers; its last column is a dummy."""
    rng = np.random.default_rng(seed)
    inner = rng.normal(size=(width, 9)) * scale / np.sqrt(width)
    inner[-1] = 0
    network = Network(inner, rng.normal(size=(9, max(classes, 1))), classes)
    schema = Schema(tuple(Feature(f"c{column}", "float", missing=True) for column in range(width)), "tensor")
    return _subject(network, schema, rng.normal(size=(rows, width)) * rng.uniform(0.5, 3, width))


def picture(shape: tuple[int, ...] = (1, 6, 6), classes: int = 3, rows: int = 50, seed: int = 0) -> Subject:
    """A network on pictures with values from 0 to 1."""
    rng = np.random.default_rng(seed)
    width = int(np.prod(shape))
    network = Network(rng.normal(size=(width, 9)) / 2, rng.normal(size=(9, max(classes, 1))), classes)
    return _subject(network, Schema((), "image", shape), rng.random((rows, width)))


def network_of(subject: Subject) -> Network:
    assert isinstance(subject.gradient, Network)
    return subject.gradient


def merged(subject: Subject, *groups: list[int]) -> Subject:
    """The same model with these players."""
    owned = tuple(np.array(group, dtype=np.intp) for group in groups)
    return replace(subject, players=Players(tuple(f"p{at}" for at in range(len(groups))), owned))


def with_gradient(subject: Subject, gradient: Gradient | None) -> Subject:
    return replace(subject, gradient=gradient)


def _subject(network: Network, schema: Schema, background: NDArray[np.float64]) -> Subject:
    task: Any = {0: "regression", 2: "binary"}.get(network.classes, "multiclass")
    spec = ModelSpec("toy", "1", task, schema, tuple(f"k{at}" for at in range(network.classes)))
    return Subject(spec, network.predict, background.astype(np.float32), players_of(spec), gradient=network)
