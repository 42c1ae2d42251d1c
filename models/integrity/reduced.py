"""The same model with less to explain: fewer players, fewer background rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.game import Players, Subject
from service.domain.schema import FeatureBatch

MOST_PLAYERS = 8
REST = "all other columns"

_CELLS = 100_000  # so that 256 coalitions with every background row of a large image stay below 100 MB


def lean(subject: Subject, rows: int, seed: int) -> Subject:
    """The same model with at most ``rows`` rows of background."""
    rng = np.random.default_rng([seed, 11])
    background = subject.background
    most = min(rows, len(background), max(2, _CELLS // background.shape[1]))
    chosen = np.sort(rng.choice(len(background), most, replace=False))
    return replace(subject, background=background[chosen])


def merge(subject: Subject, rows: FeatureBatch) -> Subject:
    """The subject with all but its most influential players made one; itself where they are few enough."""
    players = subject.players
    if len(players) <= MOST_PLAYERS:
        return subject
    kept = np.sort(most_influential(subject, rows)[: MOST_PLAYERS - 1])
    rest = np.setdiff1d(np.arange(len(players)), kept)
    names = (*(players.names[player] for player in kept), REST)
    columns = (
        *(players.columns[player] for player in kept),
        np.concatenate([players.columns[player] for player in rest]),
    )
    return replace(subject, players=Players(names, columns))


def most_influential(subject: Subject, rows: FeatureBatch) -> NDArray[np.intp]:
    """Players by how far the scores move when they alone come from a background row, largest first."""
    rows = rows[:32]
    others = subject.background[np.arange(len(rows)) % len(subject.background)]
    served = subject.predict(rows)
    moved = []
    for columns in subject.players.columns:
        mixed = rows.copy()
        mixed[:, columns] = others[:, columns]
        moved.append(float(np.abs(subject.predict(mixed) - served).mean()))
    return np.argsort(-np.array(moved), kind="stable")
