"""Single rows worth a look: the worst disagreements, and a fair sample of each slice.

A case is a document, because what it holds is for people: inputs after redaction, both answers, both
explanations. What is kept of many is decided by ``rank`` alone, so that replicas, restarts and merges agree:
``worst`` keeps the largest severities; a ``sample`` keeps the smallest of numbers that are drawn from the
request's name, which is a uniform sample without replacement of any union (bottom-k sketch, Cohen & Kaplan
2007).
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.observation import Origin, Stretch
from service.domain.schema import ModelSpec, Scores, label_indices
from service.domain.words import shortest

Kind: TypeAlias = Literal["worst", "sample"]


@dataclass(frozen=True, slots=True)
class Case:
    """One compared row."""

    kind: Kind
    slice: str
    """``all`` for the worst; the slice that a sample is of."""
    rank: float
    """Smaller is kept first: minus the severity, or the number drawn."""
    request_id: str
    row: int
    """Of the request, from 0."""
    at: float
    """Seconds since 1970."""
    document: Mapping[str, Any]
    """Ready for JSON: ``inputs``, ``production``, ``candidate``, ``slices``, ``explanations``, ``severity``,
    and ``redacted``, the columns of which ``inputs`` does not have the values."""


class Sort(NamedTuple):
    """Cases that are ranked with each other."""

    kind: Kind
    slice: str


@dataclass(slots=True)
class Shelf:
    """The best ranks of one sort, so that nearly all rows are seen at once not to be among them."""

    most: int
    _ranks: list[float] = field(default_factory=list)

    @property
    def limit(self) -> float:
        """A rank below gets in."""
        if len(self._ranks) < self.most:
            return math.inf
        return self._ranks[-1] if self.most else -math.inf

    def pick(self, ranks: NDArray[np.float64], *, once: bool) -> list[int]:
        """Which of ``ranks`` get in, at most ``most`` of them, best first.

        Args:
            ranks: [rows].
            once: equal ranks are the same row, which comes in but once.
        """
        below = np.flatnonzero(ranks < self.limit)
        if not len(below):
            return []
        order = below[np.argsort(ranks[below], kind="stable")[: self.most]]
        return [index for index in order.tolist() if self._add(float(ranks[index]), once)]

    def _add(self, rank: float, once: bool) -> bool:
        place = bisect_left(self._ranks, rank)
        known = place < len(self._ranks) and self._ranks[place] == rank
        if rank >= self.limit or (once and known):
            return False
        insort(self._ranks, rank)
        del self._ranks[self.most :]
        return True


def shelf(ranks: Iterable[float], most: int) -> Shelf:
    """With the best of ``ranks`` on it."""
    return Shelf(most, sorted(ranks)[:most])


def best(cases: Iterable[Case], worst: int, sample: int) -> tuple[Case, ...]:
    """Of each sort the best, at most ``worst`` or ``sample``; each row of a request once, at its best."""
    sorts: dict[Sort, dict[tuple[str, int], Case]] = {}
    for case in sorted(cases, key=lambda case: case.rank):  # a request's name may have been used again
        sorts.setdefault(Sort(case.kind, case.slice), {}).setdefault((case.request_id, case.row), case)
    kept: list[Case] = []
    for sort, found in sorts.items():
        most = worst if sort.kind == "worst" else sample
        kept += list(found.values())[:most]
    return tuple(kept)


def severity(flipped: NDArray[np.bool_], spreads: NDArray[np.float64]) -> NDArray[np.float64]:
    """How bad a disagreement is: its gap in spreads, and 1 more where the label flips; [rows].

    The gap of probabilities is at most 1, so a row whose label flips is worse than any that keeps it.
    """
    found: NDArray[np.float64] = spreads + flipped
    return found


def draws(origin: Origin, stretches: Sequence[Stretch]) -> NDArray[np.float64]:
    """A number for each row, uniform in [0, 1), that depends on its request's id and its place alone.

    The id's 64-bit BLAKE2b (RFC 7693) and the place are mixed as SplitMix64 does (Steele, Lea & Flood 2014).

    Args:
        origin: of the rows, [rows].
        stretches: ``origin.stretches()``.
    """
    hashes = b"".join(hashlib.blake2b(each.request_id.encode(), digest_size=8).digest() for each in stretches)
    seeds = np.frombuffer(hashes, dtype="<u8").astype(np.uint64)
    mixed = np.repeat(seeds, [each.end - each.start for each in stretches])
    mixed += origin.places.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def answer(spec: ModelSpec, scores: Scores) -> dict[str, Any]:
    """What a model answered to one row, from its scores [outputs], as ``/predict`` tells it."""
    numbers = shortest(scores)
    if not spec.classes:
        return {"value": numbers[0]}
    (label,) = label_indices(spec, scores[None])
    return {
        "label": spec.classes[label],
        "probabilities": dict(zip(spec.classes, numbers, strict=True)),
    }
