"""Coverage through a shift, with labels that come as they do.

Regions that adapt stand beside the static one and beside plain adaptive conformal inference (Gibbs & Candès
2021), which holds each late label against the level of its answer. See ``shifting_traffic`` for the streams.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from load_tests import bundles, report
from load_tests.report import Finding
from load_tests.sections import Circumstances, Section
from load_tests.shifting_traffic import (
    CONFIDENCE,
    LABELS,
    LATE,
    ROWS,
    SHIFT,
    Floats,
    Labels,
    Stream,
    Traffic,
    arrivals,
    credit_traffic,
    diabetes_traffic,
    drawn,
)
from service.domain.uncertainty.adaptation import thresholds
from service.domain.uncertainty.adaptive import Pace, adaptation, start, update

WINDOW, NEAR = 500, 0.03
"""Over how many rows coverage is looked at, and how near to the promise is near enough."""
SETTLED = SHIFT + LATE + 2 * WINDOW
"""From here on, labels of the new traffic have been there for a while even if late."""
FULL, QUICK = range(100, 110), range(100, 102)
"""Seeds that are reported; the defaults of ``Pace`` were chosen on others."""

Covered: TypeAlias = NDArray[np.bool_]  # [rows]


class Follower(Protocol):
    """Regions that learn from labels, or do not."""

    def thresholds(self) -> Floats:
        """In force for the next row."""

    def learn(self, rows: NDArray[np.intp], in_force: Floats, now: float) -> None:
        """Labels of some rows have come; ``in_force`` is what these were answered with, [rows, k]."""


@dataclass(slots=True)
class Static:
    stream: Stream

    def thresholds(self) -> Floats:
        return self.stream.region.thresholds(CONFIDENCE)

    def learn(self, rows: NDArray[np.intp], in_force: Floats, now: float) -> None:
        pass


@dataclass(slots=True)
class Plain:
    """Adaptive conformal inference with one step."""

    stream: Stream
    step: float
    level: float = 1 - CONFIDENCE

    def thresholds(self) -> Floats:
        static = self.stream.region.thresholds(CONFIDENCE)
        if self.level <= 0:
            return np.full_like(static, np.inf)
        # the paper's level above 1 is an empty region; the least one does as well here
        return self.stream.region.thresholds(max(1 - self.level, 1e-6))

    def learn(self, rows: NDArray[np.intp], in_force: Floats, now: float) -> None:
        del now
        missed = ~_covered(self.stream, rows, in_force)
        self.level += self.step * float((1 - CONFIDENCE - missed).sum())


class Ours:
    def __init__(self, stream: Stream) -> None:
        self._stream, self._pace = stream, Pace()
        self._state = start(self._pace)
        self._in_force = stream.region.thresholds(CONFIDENCE)
        self.seconds, self.labelled = 0.0, 0

    def thresholds(self) -> Floats:
        return self._in_force

    def learn(self, rows: NDArray[np.intp], in_force: Floats, now: float) -> None:
        stream, region = self._stream, self._stream.region
        times = np.full(len(rows), now)
        began = time.perf_counter()
        self._state, _ = update(
            self._state, self._pace, region, stream.evidence[rows], stream.labels[rows], in_force,
            rows.astype(np.float64), times, CONFIDENCE,
        )  # fmt: skip
        self.seconds += time.perf_counter() - began
        self.labelled += len(rows)
        found = adaptation(self._state, self._pace, region, CONFIDENCE)
        self._in_force = thresholds(found, found.region(region), CONFIDENCE)


CONTESTANTS: dict[str, Callable[[Stream], Follower]] = {
    "adaptive": Ours,
    "static": Static,
    "plain, step 0.002": lambda stream: Plain(stream, 0.002),
    "plain, step 0.005": lambda stream: Plain(stream, 0.005),
    "plain, step 0.01": lambda stream: Plain(stream, 0.01),
}


@dataclass(frozen=True, slots=True)
class Figures:
    """One contestant on one stream."""

    worst: float
    """Least coverage of ``WINDOW`` consecutive rows that end after the shift."""
    settled: float
    """The same from ``SETTLED`` on."""
    recovery: float
    """Rows from the shift until, after the worst window, one is within ``NEAR`` of the promise; infinite
    where none is, 0 where all are."""
    coverage: float
    """Of all rows after the shift."""
    everything: float
    """Share of the answers after the shift that rule nothing out."""


@dataclass(frozen=True, slots=True)
class Case:
    """One contestant on one kind of traffic and labels: medians over the seeds."""

    traffic: str
    labels: Labels
    contestant: str
    figures: Figures
    seeds: int

    def line(self) -> tuple[str, ...]:
        own = self.figures
        recovery = f"{own.recovery:,.0f}" if math.isfinite(own.recovery) else "never"
        shares = (own.worst, own.settled)
        return (
            self.traffic, self.labels, self.contestant, *(f"{share:.3f}" for share in shares), recovery,
            f"{own.coverage:.3f}", f"{own.everything:.2f}",
        )  # fmt: skip


HEADER = (
    "traffic",
    "labels",
    "regions",
    f"worst {WINDOW} rows",
    "once settled",
    "rows to recover",
    "coverage after",
    "rule nothing out",
)


def adaptive(circumstances: Circumstances) -> Section:
    """Adaptive regions beside static ones and plain adaptive conformal inference."""
    bundles.build_demo(circumstances.home)
    seeds = QUICK if circumstances.quick else FULL
    cases, cost = measure([make(circumstances.home) for make in (credit_traffic, diabetes_traffic)], seeds)
    section = Section(f"Coverage at {CONFIDENCE:g} through a shift", HEADER)
    section.how = (
        f"{ROWS:,} held-out rows of the demo's credit and diabetes models, drawn again and again; after "
        f"{SHIFT:,} the traffic shifts. Medians over {len(seeds)} seeds. Intermittent: 3 of 10 rows get a "
        f"label, in bursts of all that 100 to 600 rows gave. Recovered: after the worst, {WINDOW} rows are "
        f"within {NEAR:g} again; settled: from {SETTLED - SHIFT:,} rows after the shift on."
    )
    section.findings = [*findings(cases), Finding("cost of a labelled row", cost, "us")]
    section.lines = [case.line() for case in cases]
    section.measured = [
        {**report.record(case.figures), "traffic": case.traffic, "labels": case.labels,
         "regions": case.contestant, "seeds": case.seeds}
        for case in cases
    ]  # fmt: skip
    return section


def measure(traffics: Sequence[Traffic], seeds: Sequence[int]) -> tuple[list[Case], float]:
    """Every contestant on every traffic with every kind of labels, and ours' microseconds a labelled row."""
    cases, seconds, rows = [], 0.0, 0
    for traffic in traffics:
        for labels in LABELS:
            for name, make in CONTESTANTS.items():
                found = []
                for seed in seeds:
                    stream = drawn(traffic, seed)
                    follower = make(stream)
                    found.append(figures(*followed(stream, follower, arrivals(labels, seed))))
                    if isinstance(follower, Ours):
                        seconds, rows = seconds + follower.seconds, rows + follower.labelled
                cases.append(Case(traffic.name, labels, name, _medians(found), len(found)))
                print(" ".join(cases[-1].line()), file=sys.stderr, flush=True)
    return cases, 1e6 * seconds / max(rows, 1)


def findings(cases: Sequence[Case]) -> Iterator[Finding]:
    """What is promised about the adaptive regions."""
    for case in cases:
        if case.contestant != "adaptive":
            continue
        what, own = f"{case.traffic}, {case.labels}", case.figures
        if case.labels == "immediate":
            yield Finding(f"{what}: worst {WINDOW} rows", own.worst, "", 0.85)
        least = 0.82 if case.labels == "intermittent" else 0.84
        yield Finding(f"{what}: worst {WINDOW} rows once settled", own.settled, "", least)
        unavoidable = LATE if case.labels == "500 late" else 0
        most = unavoidable + (WINDOW if case.labels != "intermittent" else 2 * WINDOW)
        yield Finding(f"{what}: rows to recover", own.recovery, "", most, at_most=True)
        off = abs(own.coverage - CONFIDENCE)
        yield Finding(f"{what}: coverage after the shift is off by", off, "", 0.02, at_most=True)


def followed(stream: Stream, follower: Follower, come: Sequence[NDArray[np.intp]]) -> tuple[Covered, Covered]:
    """Which rows were covered, and which were answered with a region that rules nothing out; [rows] each.

    ``come`` are the rows whose labels come just before each row.
    """
    in_force = np.empty((len(stream.labels), len(follower.thresholds())))
    for now, rows in enumerate(come):
        if len(rows):
            follower.learn(rows, in_force[rows], float(now))
        in_force[now] = follower.thresholds()
    every = np.arange(len(stream.labels))
    limited = stream.evidence > in_force if in_force.shape[1] > 1 else np.isfinite(in_force)
    return _covered(stream, every, in_force), np.asarray(~limited.any(axis=1))


def figures(covered: Covered, nothing: Covered) -> Figures:
    """What a contestant's rows come to."""
    sums = np.concatenate([[0], np.cumsum(covered)])
    shares = (sums[WINDOW:] - sums[:-WINDOW]) / WINDOW
    after = shares[SHIFT - WINDOW + 1 :]  # windows by their last row, the first of which is the shift's
    lowest = int(after.argmin())
    recovery = 0.0
    if after[lowest] < CONFIDENCE - NEAR:
        back = np.flatnonzero(after[lowest:] >= CONFIDENCE - NEAR)
        recovery = float(lowest + back[0] + 1) if len(back) else math.inf
    return Figures(
        worst=float(after.min()),
        settled=float(shares[SETTLED:].min()),
        recovery=recovery,
        coverage=float(covered[SHIFT:].mean()),
        everything=float(nothing[SHIFT:].mean()),
    )


def _covered(stream: Stream, rows: NDArray[np.intp], in_force: Floats) -> Covered:
    own = stream.region.nonconformity(stream.evidence[rows], stream.labels[rows])
    shared = in_force.shape[1] == 1
    found: Covered = own <= (
        in_force[:, 0] if shared else in_force[np.arange(len(rows)), stream.labels[rows]]
    )
    return found


def _medians(found: Sequence[Figures]) -> Figures:
    names = Figures.__dataclass_fields__
    return Figures(**{name: median(getattr(each, name) for each in found) for name in names})
