"""Which sums of trees are the members of an ensemble: each tree of a forest, or stages of a boosting.

- A forest's members are its trees.
- A boosting's are at most ``STAGES`` truncations of it, evenly spaced from half of its trees to all, so that
  the last is what is served: a virtual ensemble (Malinin, Prokhorenkova & Ustimenko 2021, "Uncertainty in
  gradient boosting via ensembles"). They are draws from a posterior only where the boosting was Langevin's;
  of any other they resemble each other, so their spread is too small, and whether it says which rows are
  answered wrongly is for the calibration rows to show.

A graph does not say which of the two it is. Probabilities that are added up are a forest's; of other sums the
trees are looked at on rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.member_trees import Votes
from service.domain.explainers.game import Unsuitable
from service.domain.trees import Rows, TreeEnsemble, transformed

STAGES = 10
FIRST_HALF, SCATTER = 0.56, 0.2
"""Trees of a forest all explain as much; a boosting's explain less and less. Where the first half of n trees
explains more than ``FIRST_HALF + SCATTER / n`` of the margins' variance, it is a boosting. Forests of 3 to
100 trees on three data sets stayed below it; a boosting mostly passes it where rate times trees is above
0.5, later on data with few rows far out."""
FIRST_HALF_OF_MARGINS = 0.515
"""The same of sums with a base or a link function, of which few are forests."""


def stages(trees: int) -> NDArray[np.intp]:
    """How many trees each member of a boosting has, ascending, the last all of them."""
    half = (trees + 1) // 2
    return np.ceil(np.linspace(half, trees, min(STAGES, trees - half + 1)) - 1e-9).astype(np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What the members are: sums of groups of trees."""

    votes: Votes
    groups: NDArray[np.intp]
    """Of each tree, for each output, [trees, outputs]."""
    count: int
    """Groups, as many as members."""
    factor: float = 1.0
    """What leaves are multiplied by."""
    staged: bool = False
    """Whether a member is all groups up to its own, not its own alone."""

    def expected(self, head: TreeEnsemble, encoded: Rows) -> NDArray[np.float64]:
        """The members' scores by numpy; [rows, members, outputs] as the head has outputs."""
        found = _summed(head.leaf_values[head.leaves(encoded)], self.groups, self.count) * self.factor
        margins = head.base + (found.cumsum(axis=1) if self.staged else found)
        flat = transformed(margins.reshape(-1, head.outputs), head.post)
        return flat.reshape(margins.shape)


def plan_of(head: TreeEnsemble, votes: Votes, encoded: Rows) -> Plan:
    """The members of an ensemble.

    Args:
        head: with all that happens to the margins after the node.
        votes: of the node.
        encoded: rows as they go into the trees, [rows, columns].

    Raises:
        Unsuitable: there are no two, or they are not sums; says why.
    """
    if head.aggregate in ("min", "max"):
        raise Unsuitable(f"its score is the {head.aggregate} over trees, not a sum")
    if head.post not in ("none", "logistic", "softmax"):
        raise Unsuitable(f"its post-transform is {head.post}")
    given = votes.given
    trees = len(given)
    if trees < 2:
        raise Unsuitable("it is one tree")
    probabilities = head.post == "none" and (head.complement or head.outputs > 1)
    average = head.aggregate == "average"
    usual = FIRST_HALF + SCATTER / trees
    most = FIRST_HALF_OF_MARGINS if head.base.any() or head.post != "none" else usual
    if average or probabilities or _are_alike(head.leaf_values[head.leaves(encoded)], given, most):
        if not given.all():
            raise Unsuitable("its trees do not speak of all classes each")
        own = np.repeat(np.arange(trees)[:, None], head.outputs, axis=1)
        return Plan(votes, own, trees, 1.0 if average else float(trees))
    return _staged(votes)


def _staged(votes: Votes) -> Plan:
    """A class's trees are counted on their own, in whatever order the file has the classes."""
    ranks, counts = votes.given.cumsum(axis=0) - 1, votes.given.sum(axis=0)
    ends = stages(int(counts.max()))
    if len(ends) < 2:
        raise Unsuitable("it has one stage")
    groups = np.zeros_like(ranks)
    for output, count in enumerate(counts.tolist()):
        own = np.ceil(ends * (count / counts.max()) - 1e-9)
        groups[:, output] = np.searchsorted(own[:-1], ranks[:, output], side="right")
    return Plan(votes, groups, len(ends), staged=True)


def _are_alike(each: NDArray[np.float64], given: NDArray[np.bool_], most: float) -> bool:
    """Whether trees are those of a forest: each alone predicts what all do, in level and in spread.

    Args:
        each: what the trees add to the margins, [rows, trees, outputs].
        given: whether a tree speaks of an output, [trees, outputs].
        most: what the first half of a forest may explain at most.
    """
    total = each.sum(axis=1)
    centred = total - total.mean(axis=0)
    if not np.square(centred).sum() > 0:
        raise Unsuitable("it answers the same for every row")
    counts = given.sum(axis=0)
    first = given.cumsum(axis=0) <= counts / 2
    share = np.sum(_summed(each, np.where(first, 0, 1), 2)[:, 0] * centred) / np.square(centred).sum()
    share *= counts.max() / max(1, counts.max() // 2 * 2)  # of an odd number the middle one is in the second
    levels = np.abs(each.mean(axis=0) * counts - total.mean(axis=0))
    return bool(share <= most and (levels <= total.std(axis=0))[given].all())


def _summed(each: NDArray[np.float64], groups: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """[rows, count, outputs] of [rows, trees, outputs], by the group of each tree and output."""
    found = np.zeros((len(each), count, each.shape[2]))
    for output in range(each.shape[2]):
        membership = np.arange(count) == groups[:, output, None]
        found[:, :, output] = each[:, :, output] @ membership
    return found
