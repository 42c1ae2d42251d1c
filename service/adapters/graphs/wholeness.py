"""From nodes as a file lists them to trees in which every child has one parent."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.game import Unsuitable
from service.domain.trees import Aggregate, Mode, TreeEnsemble

_NO_TREES = "the nodes do not form trees"


def merged(trees: TreeEnsemble) -> TreeEnsemble:
    """Each chain "is it a? else is it b?" with one true child as one membership test, as ONNX Runtime does.

    Converters write a set of categories in this way, and only so may a child have several parents.

    Raises:
        Unsuitable: two chains run into each other, or ONNX Runtime's reading of one is not the plain one.
    """
    follows = np.full(len(trees.columns), -1)
    first = np.flatnonzero((trees.modes == Mode.EQ) & (trees.if_false >= 0))
    second = trees.if_false[first]
    alike = (trees.modes[second] == Mode.EQ) & (trees.columns[first] == trees.columns[second])
    alike &= trees.if_true[first] == trees.if_true[second]
    follows[first[alike]] = second[alike]
    if not alike.any():
        return trees
    if len(np.unique(second[alike])) < alike.sum():
        raise Unsuitable(_NO_TREES)
    modes, if_false = trees.modes.copy(), trees.if_false.copy()
    members = {}
    for head in np.setdiff1d(first[alike], follows).tolist():
        chain = [head]
        while follows[chain[-1]] >= 0:
            chain.append(int(follows[chain[-1]]))
        modes[head], if_false[head] = Mode.MEMBER, trees.if_false[chain[-1]]
        if len(np.unique(trees.nan_is_true[chain])) > 1:
            raise Unsuitable("one set of categories sends missing values both ways")
        members[head] = trees.thresholds[chain]
    kept = np.setdiff1d(np.arange(len(follows)), follows)
    number = np.full(len(follows), -1)
    number[kept] = np.arange(len(kept))

    def renumbered(children: NDArray[np.intp]) -> NDArray[np.intp]:
        return np.where(children >= 0, number[np.maximum(children, 0)], children)

    return replace(
        trees,
        columns=trees.columns[kept],
        thresholds=np.where(modes == Mode.MEMBER, trees.thresholds.dtype.type(0), trees.thresholds)[kept],
        modes=modes[kept],
        if_true=renumbered(trees.if_true)[kept],
        if_false=renumbered(if_false)[kept],
        nan_is_true=trees.nan_is_true[kept],
        roots=renumbered(trees.roots),
        members={int(number[head]): values for head, values in members.items()},
    )


def checked(trees: TreeEnsemble) -> TreeEnsemble:
    """``trees`` unless a node or leaf has two parents: then walking down might never end.

    Raises:
        Unsuitable: so it is, or the aggregate function is unknown.
    """
    if trees.aggregate not in get_args(Aggregate):
        raise Unsuitable(f"the aggregate function {trees.aggregate!r} is not known")
    seen = np.zeros(len(trees.columns) + len(trees.leaf_values), dtype=bool)  # leaf ~c lies at c from the end
    level = trees.roots
    while level.size:
        if seen[level].any() or len(np.unique(level)) < len(level):
            raise Unsuitable(_NO_TREES)
        seen[level] = True
        inner = level[level >= 0]
        level = np.concatenate([trees.if_true[inner], trees.if_false[inner]])
    return trees
