"""How often the answered label sets and intervals held the true label, once labels arrive.

A row counts as covered where the region *as it was answered* holds its label: with the thresholds that were
in force then, at the model's own confidence. Counts add up, over batches and over replicas alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.observation import Arm
from service.domain.report import Samples
from service.domain.slices import ALL
from service.domain.uncertainty.adaptation import Adaptation
from service.domain.uncertainty.measure import Region

FAMILY = "understudy_coverage_rows_total"
"""The counter that ``counts_of`` reads: one series per model, arm, slice and whether covered."""
SURE = 1.959963984540054
"""Standard deviations on either side of an interval of 95 %."""


class Part(NamedTuple):
    """Whose rows are counted."""

    model: str
    """``NAME:VERSION`` of the model that answered."""
    arm: str
    slice: str
    """``all``, or a slice of the manifest."""


@dataclass(frozen=True, slots=True)
class Count:
    """Labelled rows, and how many of them were covered."""

    labelled: int = 0
    covered: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.labelled + other.labelled, self.covered + other.covered)

    @property
    def share(self) -> float | None:
        """The live coverage, 0 to 1; None before the first label."""
        return self.covered / self.labelled if self.labelled else None


Counts: TypeAlias = dict[Part, Count]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Labelled rows beside what was answered."""

    nonconformity: NDArray[np.float64]
    """Of the true labels, [rows]."""
    covered: NDArray[np.bool_]
    """Whether the answer's region held the label, [rows]."""


def judge(
    region: Region,
    evidence: NDArray[np.float64],
    labels: NDArray[Any],
    in_force: NDArray[np.float64],
) -> Judged:
    """Holds each label against its row's region.

    Args:
        region: of the model that answered.
        evidence: kept since the answer, [rows, k]; see ``Region.evidence``.
        labels: [rows] indices into the classes, or values of a regression.
        in_force: the thresholds that were answered with, [rows, classes]; one column where all classes
            share a threshold, and for a regression.
    """
    nonconformity = _numbers(region.nonconformity(evidence, labels))
    shared = in_force.shape[1] == 1
    limits = in_force[:, 0] if shared else in_force[np.arange(len(labels)), labels]
    return Judged(nonconformity, nonconformity <= limits)


def keepsake(evidence: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evidence with the thresholds that were answered with beside it, to be kept until labels come.

    Args:
        evidence: [rows, k].
        thresholds: [classes], or [1] for a regression.

    Returns:
        [rows, k + classes], or [rows, k + 1].
    """
    beside = np.broadcast_to(thresholds, (len(evidence), len(thresholds)))
    return np.concatenate([evidence, beside], axis=1)


def parted(kept: NDArray[np.float64], outputs: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The evidence and the thresholds of a ``keepsake``; ``outputs`` as ``ModelSpec.outputs``."""
    return kept[:, :-outputs], kept[:, -outputs:]


def _numbers(nonconformity: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is not a number becomes infinity, which only an infinite threshold covers."""
    return np.where(np.isnan(nonconformity), np.inf, nonconformity)


def count(
    model: str, arm: Arm, slices: Mapping[str, NDArray[np.bool_]], covered: NDArray[np.bool_]
) -> Counts:
    """The counts of rows that one model answered in one role; slices without a row are left out.

    Args:
        model: its tag.
        arm: its role.
        slices: one mask [rows] per slice; ``all`` is added where it is missing.
        covered: [rows].
    """
    masks = {ALL: np.ones(len(covered), np.bool_), **slices}
    return {
        Part(model, arm, name): Count(int(mask.sum()), int((mask & covered).sum()))
        for name, mask in masks.items()
        if mask.any()
    }


def together(counts: Iterable[Mapping[Part, Count]]) -> Counts:
    """The sums, part by part."""
    total = Counts()
    for each in counts:
        for part, some in each.items():
            total[part] = total.get(part, Count()) + some
    return total


def counts_of(samples: Samples, tag: str) -> Counts:
    """One model's counts as ``/metrics`` shows them."""
    found = Counts()
    for (name, pairs), value in samples.items():
        labels = dict(pairs)
        if name == FAMILY and f"{labels['model']}:{labels['version']}" == tag:
            part = Part(tag, labels["arm"], labels["slice"])
            rows = int(value)
            found[part] = found.get(part, Count()) + Count(rows, rows * (labels["covered"] == "true"))
    return found


def interval(count: Count) -> tuple[float, float]:
    """Where the coverage lies in the long run, at 95 %: Wilson's score interval (Wilson 1927).

    It holds for one look at independent rows; who looks at it always will see it err more often.
    """
    if not count.labelled:
        return 0.0, 1.0
    n, share = count.labelled, count.covered / count.labelled
    centre = share + SURE**2 / (2 * n)
    reach = SURE * math.sqrt(share * (1 - share) / n + SURE**2 / (4 * n**2))
    scale = 1 + SURE**2 / n
    low, high = max((centre - reach) / scale, 0.0), min((centre + reach) / scale, 1.0)
    # at the ends the formula is exact, its rounding is not
    return (0.0 if count.covered == 0 else low), (1.0 if count.covered == n else high)


def document(
    counts: Mapping[Part, Count], model: str, confidence: float, adaptation: Adaptation | None = None
) -> dict[str, Any]:
    """One model's live coverage, ready for JSON.

    Args:
        counts: of this model and perhaps of others.
        model: its tag.
        confidence: what its sets and intervals promise where a caller names nothing.
        adaptation: how its regions are adapted; None where they are not.
    """
    own = {part: some for part, some in counts.items() if part.model == model}
    whole = {part.arm: some for part, some in own.items() if part.slice == ALL}
    slices: dict[str, Count] = {}
    for part, some in own.items():
        if part.slice != ALL:
            slices[part.slice] = slices.get(part.slice, Count()) + some
    return {
        "confidence": confidence,
        **_shown(sum(whole.values(), Count()), confidence),
        "arms": {arm: _shown(some, confidence) for arm, some in sorted(whole.items())},
        "slices": {name: _shown(some, confidence) for name, some in sorted(slices.items())},
        "adaptive": None if adaptation is None else adaptation.shown(confidence),
    }


def _shown(count: Count, confidence: float) -> dict[str, Any]:
    low, high = interval(count)
    return {
        "labelled": count.labelled,
        "covered": count.covered,
        "coverage": count.share,
        "interval": [low, high] if count.labelled else None,
        "under": high < confidence,
    }
