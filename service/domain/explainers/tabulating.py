"""One group's table: which cells it has, and what every leaf contributes in each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.bins import Answers, Bins, Located
from service.domain.explainers.grouping import Live, Part, Path, Tests
from service.domain.explainers.interventional import pattern_tables
from service.domain.trees import TreeEnsemble

LeafTables = dict[int, NDArray[np.float64]]
"""Of each leaf that counts and tests anything: contributions per pattern, [2**players, players]."""

_CHUNK = 1 << 18  # numbers in flight while leaves are tabulated


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """What folding works on, the same for every output."""

    trees: TreeEnsemble
    bins: Bins
    answers: Answers
    tests: Tests
    owner: list[int]
    """The player of each node's column."""
    background: Located


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A table and how a row finds its place in it."""

    players: list[int]
    table: NDArray[np.float32]
    """[cells, players]"""
    steps: list[tuple[int, int]]
    """(bin, by how many cells it lies further than the bin before)."""


def leaf_tables(ground: Ground, values: NDArray[np.float64], counting: Live) -> LeafTables:
    """Every leaf's contributions, averaged over the background; ``values`` [leaves]."""
    place = ground.answers.place.tolist()
    columns = np.ascontiguousarray(ground.background.T)
    rows = len(ground.background)

    def answer(node: int) -> NDArray[np.bool_]:
        return ground.answers.of(node, columns[place[node]])

    shares: dict[int, dict[int, NDArray[np.float64]]] = {}
    for root in ground.trees.roots.tolist():
        for leaf, players, patterns in _walk(ground, root, (), answer, rows, counting):
            if players:
                counted = np.bincount(patterns, minlength=1 << len(players))
                shares.setdefault(len(players), {})[leaf] = counted * (values[leaf] / rows)
    tables: LeafTables = {}
    for count, of_leaf in shares.items():
        leaves, step = list(of_leaf), max(1, _CHUNK >> count)
        for start in range(0, len(leaves), step):
            some = leaves[start : start + step]
            tables.update(zip(some, pattern_tables(np.stack([of_leaf[leaf] for leaf in some])), strict=True))
    return tables


def tabulated(part: Part, ground: Ground, leaves: LeafTables, counting: Live) -> Group:
    """The table of ``part``: in each cell the sum of its leaves' contributions."""
    tests, at_first = ground.tests, ground.answers.at_first
    leading: dict[int, list[tuple[int, bool]]] = {}  # by place: (test, whether it must have turned over)
    inside: dict[int, list[int]] = {}
    for node, taken in part.path:
        leading.setdefault(tests.places[tests.of_node[node]], []).append(
            (tests.of_node[node], taken != at_first[node])
        )
    for test in sorted(part.inside):
        inside.setdefault(tests.places[test], []).append(test)
    cells = 1
    steps: list[tuple[int, int]] = []
    axes: list[tuple[int, list[int], set[int]]] = []  # cells per class, first bin of each class, tests
    for place in sorted(leading.keys() | inside.keys()):
        outer, inner = leading.get(place, []), inside.get(place, [])
        asked = {*inner, *(test for test, _ in outer)}
        edges = sorted({flip for test in asked for flip in tests.flips[test]})
        firsts, numbers = _classes([int(ground.bins.first[place]), *edges], outer, inner, tests)
        jumps = zip(edges, numbers[1:], numbers[:-1], strict=True)
        steps.extend((edge, (new - old) * cells) for edge, new, old in jumps if new != old)
        axes.append((cells, firsts, asked))
        cells *= len(firsts)
    turned = {}
    for stride, firsts, asked in axes:
        class_of = np.arange(cells) // stride % len(firsts)
        for test in asked:
            turned[test] = np.array([tests.turned(test, first) for first in firsts])[class_of]

    def answer(node: int) -> NDArray[np.bool_]:
        answers: NDArray[np.bool_] = turned[tests.of_node[node]] ^ at_first[node]
        return answers

    players = sorted(part.players)
    table = np.zeros((cells, len(players)))
    for leaf, own, patterns in _walk(ground, part.root, part.path, answer, cells, counting):
        table[:, [players.index(player) for player in own]] += leaves[leaf][patterns]
    return Group(players, table.astype(np.float32), steps)


def _classes(
    bins: list[int], outer: list[tuple[int, bool]], inner: list[int], tests: Tests
) -> tuple[list[int], list[int]]:
    """The first bin of each class of one column, and the class of each of ``bins``."""
    known: dict[tuple[bool, ...] | None, int] = {}
    firsts, numbers = [], []
    for each in bins:
        within = all(tests.turned(test, each) == wanted for test, wanted in outer)
        turns = tuple(tests.turned(test, each) for test in inner) if within else None
        if turns not in known:
            firsts.append(each)
        numbers.append(known.setdefault(turns, len(known)))
    return firsts, numbers


def _walk(
    ground: Ground,
    root: int,
    path: Path,
    answer: Callable[[int], NDArray[np.bool_]],
    size: int,
    counting: Live,
) -> Iterator[tuple[int, tuple[int, ...], NDArray[np.intp]]]:
    """(leaf, players on the way from the tree's root, patterns of ``size`` points) of all leaves that count.

    Bit i of a pattern is set where the point meets all conditions on columns of player i of the way.
    ``answer`` gives a node's answers at all points.
    """
    if_true, if_false = ground.trees.if_true, ground.trees.if_false
    way: tuple[int, ...] = ()
    patterns = np.zeros(size, dtype=np.intp)
    for node, taken in path:
        way, patterns = _met(way, patterns, ground.owner[node], answer(node) == taken)
    stack = [(root, way, patterns)] if root in counting else []
    while stack:
        child, way, patterns = stack.pop()
        if child < 0:
            yield ~child, way, patterns
            continue
        true, player = answer(child), ground.owner[child]
        for below, met in ((int(if_true[child]), true), (int(if_false[child]), ~true)):
            if below in counting:
                stack.append((below, *_met(way, patterns, player, met)))


def _met(
    way: tuple[int, ...], patterns: NDArray[np.intp], player: int, met: NDArray[np.bool_]
) -> tuple[tuple[int, ...], NDArray[np.intp]]:
    """The way and its patterns after one more condition."""
    if player not in way:
        return (*way, player), patterns | (met * np.intp(1 << len(way)))
    return way, patterns & ~(~met * np.intp(1 << way.index(player)))
