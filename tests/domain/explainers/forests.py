"""Random ensembles with every kind of node, and the definition of Shapley values as an oracle."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.trees import Mode, Rows, TreeEnsemble

GRID = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Thresholds and values come from here, so that values hit thresholds exactly."""


def forest(
    rng: np.random.Generator,
    trees: int = 8,
    depth: int = 4,
    columns: int = 5,
    outputs: int = 1,
    modes: Sequence[Mode] = tuple(Mode),
    dtype: type[np.floating[Any]] = np.float32,
    **rest: Any,
) -> TreeEnsemble:
    """Trees of at most ``depth`` that end early at random, with NaN going either way."""
    nodes: list[tuple[int, float, Mode, int, int, bool]] = []
    leaves: list[NDArray[np.float64]] = []
    members: dict[int, NDArray[np.floating[Any]]] = {}

    def grow(left: int) -> int:
        if left == 0 or (left < depth and rng.random() < 0.2):
            leaves.append(rng.normal(size=outputs))
            return ~(len(leaves) - 1)
        node, mode = len(nodes), Mode(rng.choice(modes))
        nodes.append((0, 0.0, mode, 0, 0, False))
        if mode is Mode.MEMBER:
            members[node] = rng.choice(GRID, size=rng.integers(1, 4), replace=False).astype(dtype)
        threshold = 0.0 if mode is Mode.MEMBER else float(rng.choice(GRID))
        column, tracks = int(rng.integers(columns)), bool(rng.random() < 0.5)
        nodes[node] = (column, threshold, mode, grow(left - 1), grow(left - 1), tracks)
        return node

    roots = [grow(depth) for _ in range(trees)]
    column, threshold, mode, if_true, if_false, tracks = zip(*nodes, strict=True) if nodes else ((),) * 6
    given: dict[str, Any] = {"base": rng.normal(size=outputs), **rest}
    return TreeEnsemble(
        columns=np.array(column, dtype=np.intp),
        thresholds=np.array(threshold, dtype=dtype),
        modes=np.array(mode, dtype=np.uint8),
        if_true=np.array(if_true, dtype=np.intp),
        if_false=np.array(if_false, dtype=np.intp),
        nan_is_true=np.array(tracks, dtype=bool),
        roots=np.array(roots, dtype=np.intp),
        leaf_values=np.array(leaves),
        members=members,
        **given,
    )


def rows_of(rng: np.random.Generator, rows: int, columns: int = 5, missing: float = 0.15) -> Rows:
    """Values on the thresholds, right beside them, between them, and NaN; float32 [rows, columns]."""
    values = rng.choice(GRID, size=(rows, columns)).astype(np.float32)
    shift = rng.integers(4, size=values.shape)
    values = np.select(
        [shift == 0, shift == 1, shift == 2],
        [values, np.nextafter(values, np.float32(9)), np.nextafter(values, np.float32(-9))],
        values + np.float32(0.25),
    )
    values[rng.random(values.shape) < missing] = np.nan
    return values


def enumerated(
    trees: TreeEnsemble, rows: Rows, background: Rows, owner: Sequence[int], output: int = 0
) -> NDArray[np.float64]:
    """Shapley values by their definition, [rows, players]: all coalitions, all background rows."""
    players = max(owner) + 1
    found = np.zeros((len(rows), players))
    for at, row in enumerate(rows):
        worth = []
        for coalition in range(1 << players):
            mixed = background.copy()
            inside = [column for column, player in enumerate(owner) if coalition >> player & 1]
            mixed[:, inside] = row[inside]
            worth.append(trees.margins(mixed)[:, output].mean())
        for coalition in range(1 << players):
            size = coalition.bit_count()
            for player in range(players):
                if not coalition >> player & 1:
                    gain = worth[coalition | 1 << player] - worth[coalition]
                    found[at, player] += gain / (players * comb(players - 1, size))
    return found
