"""Which leaves share a table: whole trees where their joint cells are few, parts of trees elsewhere.

A row's cell in a part of a tree is given by one class per column: outside what leads to the part, or inside
and one of the ways in which the part's own conditions turn out. A part has as many cells as classes can be
combined. Fewer, larger parts are faster to add up and take more memory, so parts are merged upwards, cheapest
first.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.bins import Answers
from service.domain.trees import TreeEnsemble

ENTRY_BYTES = 4
"""Of one contribution in a table, float32."""
MERGE_BYTES = 1 << 16
"""What one merge may cost: a table too large for the processor's cache is slower than two small ones."""


Path = tuple[tuple[int, bool], ...]
"""(node, answer) from a tree's root down."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Everything below one node that counts, with the conditions that lead there."""

    root: int
    """A node, or a leaf ``~leaf``."""
    path: Path
    inside: frozenset[int]
    """Tests of the conditions below, numbered as in ``Tests``."""
    players: frozenset[int]
    """Who is tested on the way to a leaf that counts."""
    bytes: int
    """Of its table; an estimate that NaN may raise a little."""
    below: tuple[int, int] | None = None
    """The two parts it is merged of, by their index."""


@dataclass(frozen=True, slots=True, eq=False)
class Tests:
    """The different questions that nodes ask; a node and its opposite ask the same."""

    of_node: list[int]
    places: list[int]
    """Position of each test's column among the tested ones."""
    flips: list[tuple[int, ...]]
    """Bins at which each test's answer turns over."""

    def turned(self, test: int, single: int) -> bool:
        """Whether the answer in a bin is another than in the column's first."""
        return sum(single >= flip for flip in self.flips[test]) % 2 == 1


def distinct_tests(answers: Answers) -> Tests:
    """Every node's question, numbered so that equal ones have one number."""
    numbers: dict[tuple[int, tuple[int, ...]], int] = {}
    pairs = zip(answers.place.tolist(), answers.flips, strict=True)
    of_node = [numbers.setdefault(pair, len(numbers)) for pair in pairs]
    return Tests(of_node, [place for place, _ in numbers], [flips for _, flips in numbers])


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """What counts for one output: leaves whose value is anything but 0, and the nodes above them."""

    leaves: NDArray[np.bool_]
    nodes: NDArray[np.bool_]

    def __contains__(self, child: int) -> bool:
        return bool(self.nodes[child] if child >= 0 else self.leaves[~child])


def live(trees: TreeEnsemble, values: NDArray[np.float64]) -> Live:
    """Of leaf values, [leaves]."""
    leaves = values != 0
    nodes = np.zeros(len(trees.columns), dtype=bool)
    children = np.stack([trees.if_true, trees.if_false])
    inner, ends = children >= 0, ~np.minimum(children, -1)
    reached = (~inner & leaves[ends]).any(axis=0)
    while (reached & ~nodes).any():  # once for each level of the deepest tree
        nodes = reached
        reached = nodes | (inner & nodes[np.maximum(children, 0)]).any(axis=0)
    return Live(leaves, nodes)


@dataclass(frozen=True, slots=True)
class Size:
    """What folding one output would take, known before anything is made."""

    players: int
    """Most players on one path."""
    contributions: int
    """Numbers in the tables of all leaves, by pattern."""
    conditions: int
    """On all paths together."""


def size_of(trees: TreeEnsemble, counting: Live, owner: NDArray[np.intp]) -> Size:
    """Walks down level by level; ``owner`` is the player of each node's column, [nodes]."""
    level = np.array([root for root in trees.roots.tolist() if root in counting], dtype=np.intp)
    seen = np.zeros((len(level), int(owner.max(initial=0)) // 8 + 1), dtype=np.uint8)  # a bit for each player
    most = contributions = conditions = depth = 0
    while level.size:
        counts = np.bitwise_count(seen[level < 0]).sum(axis=1, dtype=np.int64)
        most = max(most, int(counts.max(initial=0)))
        contributions += sum(int(count) << int(count) for count in counts)
        conditions += depth * len(counts)
        inner = np.flatnonzero(level >= 0)
        nodes, ways = level[inner], seen[inner]
        ways[np.arange(len(nodes)), owner[nodes] // 8] |= (1 << owner[nodes] % 8).astype(np.uint8)
        level = np.concatenate([trees.if_true[nodes], trees.if_false[nodes]])
        counts_on = np.where(
            level >= 0, counting.nodes[np.maximum(level, 0)], counting.leaves[~np.minimum(level, -1)]
        )
        level, seen, depth = level[counts_on], np.tile(ways, (2, 1))[counts_on], depth + 1
    return Size(most, contributions, conditions)


def parts_of(trees: TreeEnsemble, counting: Live, tests: Tests, owner: Sequence[int]) -> list[Part]:
    """All parts of all trees, each behind the parts below it.

    Args:
        trees: the ensemble.
        counting: which leaves to look at.
        tests: what ``distinct_tests`` found.
        owner: the player of each node's column.
    """
    if_true, if_false = trees.if_true.tolist(), trees.if_false.tolist()
    found: list[Part] = []
    for root in trees.roots.tolist():
        order: list[tuple[int, Path]] = [(root, ())] if root in counting else []
        for child, path in order:  # grows while it is walked: parents before children
            if child >= 0:
                ways = ((if_true[child], (*path, (child, True))), (if_false[child], (*path, (child, False))))
                order.extend(way for way in ways if way[0] in counting)
        made: dict[int, int] = {}
        for child, path in reversed(order):
            below = [made[at] for at in (if_true[child], if_false[child]) if at in made] if child >= 0 else []
            if len(below) == 1:
                made[child] = below[0]
                continue
            made[child] = len(found)
            if below:
                found.append(_joined(child, path, below[0], below[1], found, tests))
            else:
                players = frozenset(owner[node] for node, _ in path)
                found.append(
                    Part(child, path, frozenset(), players, _bytes(path, frozenset(), players, tests))
                )
    return found


def chosen(parts: Sequence[Part], budget: int) -> list[Part]:
    """The parts to tabulate: every leaf that counts is in exactly one; together at most ``budget`` bytes.

    Where even the smallest parts take more, those are chosen: look at the sum.
    """
    parent = {child: index for index, part in enumerate(parts) for child in part.below or ()}
    taken = {index for index, part in enumerate(parts) if part.below is None}
    total = sum(parts[index].bytes for index in taken)
    ready: list[tuple[int, int]] = []

    def offer(index: int) -> None:
        below = parts[index].below
        if below is not None and taken.issuperset(below):
            heapq.heappush(ready, (parts[index].bytes - sum(parts[each].bytes for each in below), index))

    for index in range(len(parts)):
        offer(index)
    while ready:
        more, index = heapq.heappop(ready)
        if more > MERGE_BYTES or (more > 0 and total + more > budget):
            break
        taken.difference_update(parts[index].below or ())
        taken.add(index)
        total += more
        if index in parent:
            offer(parent[index])
    return [parts[index] for index in sorted(taken)]


def _joined(root: int, path: Path, one: int, other: int, found: list[Part], tests: Tests) -> Part:
    between = (*found[one].path[len(path) :], *found[other].path[len(path) :])
    inside = found[one].inside | found[other].inside | {tests.of_node[node] for node, _ in between}
    players = found[one].players | found[other].players
    return Part(root, path, inside, players, _bytes(path, inside, players, tests), (one, other))


def _bytes(path: Path, inside: frozenset[int], players: frozenset[int], tests: Tests) -> int:
    classes = dict.fromkeys((tests.places[tests.of_node[node]] for node, _ in path), 2)
    for test in inside:
        classes[tests.places[test]] = classes.get(tests.places[test], 1) + 1
    return prod(classes.values()) * len(players) * ENTRY_BYTES
