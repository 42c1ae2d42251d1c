"""How often regions hold the truth, and how large they are.

Rows that no model was trained on are divided at random into calibration rows and test rows, many times over,
and MAPIE and crepes are given the same divisions.

All divisions are of one finite pool, and the band takes that into account. Whatever the pool, a division is a
uniform draw from it; so where no two scores are equal, a threshold of rank k among n covers beta-binomially
many of m test rows, Beta(k, n + 1 - k): k / (n + 1) of them on average. Divisions are drawn independently of
each other, so their mean is within 3 standard errors of that but for 1 case in 370. Equal scores, of which
APS has many, can only make it more. Takes about 3 minutes, with ``--quick`` one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from load_tests import bundles
from load_tests.conformal_oracles import theirs
from load_tests.conformal_pools import pools
from load_tests.report import Finding, record
from load_tests.sections import Circumstances, Section
from service.domain.uncertainty.conformal import part
from service.domain.uncertainty.measure import Asked, Columns, Material, Measure, Region, Unfitting
from service.domain.uncertainty.registry import of_kind

CONFIDENCES = (0.8, 0.9, 0.95)
SPLITS, QUICK = 200, 40
BAND = 3.0
"""Standard errors between a mean coverage and what is expected of it."""
NO_LARGER = 1.01
"""Times the mean size of the other libraries' regions."""
EQUAL = 0.01
"""Share of scores that equal another, above which coverage is expected from below only."""
PACKAGES = ("numpy", "scikit-learn", "onnxruntime-gpu", "mapie", "crepes")
OURS = "ours"


@dataclass(frozen=True, slots=True)
class Tally:
    """Regions of one measure at one confidence, by one library."""

    coverage: float
    """Mean over all divisions."""
    size: float
    """Labels of a set, or width of an interval: mean over all rows and divisions."""
    worst_class: float
    """Coverage of the class that is covered least; of a regression, of all."""


@dataclass(frozen=True, slots=True)
class Case:
    """One measure on one pool at one confidence."""

    pool: str
    measure: str
    confidence: float
    rows: int
    """Calibration rows of a division."""
    expected: float
    """Of the coverage, k / (n + 1), averaged over thresholds as test rows have them."""
    standard_error: float
    """Of the mean over all divisions."""
    from_below: bool
    """Whether scores are equal so often that coverage may be more than expected."""
    by: Mapping[str, Tally]
    """``OURS`` and each library that has the same."""

    @property
    def deviation(self) -> float:
        """Of our coverage, in standard errors; 0 where more is no fault."""
        found = (self.by[OURS].coverage - self.expected) / self.standard_error
        return min(found, 0.0) if self.from_below else found


HEADER = (
    "data",
    "measure",
    "asked",
    "coverage",
    "band",
    "worst class",
    "size",
    "MAPIE: coverage",
    "size",
    "crepes: coverage",
    "size",
)


def coverage(circumstances: Circumstances) -> Section:
    """Every conformal region on every pool, beside MAPIE and crepes."""
    bundles.build(circumstances.home)
    splits = QUICK if circumstances.quick else SPLITS
    found: list[Case] = []
    for name, pool in pools(circumstances.home).items():
        for case in measure(name, pool, splits):
            found.append(case)
            print(" ".join(_line(case)), file=sys.stderr, flush=True)
    section = Section("Conformal regions: coverage and size", HEADER)
    section.how = (
        f"{splits} random divisions of rows that no model was trained on: half calibration rows, half test "
        "rows, the same for all libraries. A band is the expected coverage and 3 standard errors of the mean "
        "over divisions of that very pool; it is open above where many scores are equal. MAPIE's APS is its "
        "default one, crepes' p-values are not smoothed, its difficulty is by 25 neighbours, its default. "
        "Size: labels of a set or width of an interval, mean. Worst class: the coverage of that class."
    )
    section.findings = list(findings(found))
    section.lines = [_line(case) for case in found]
    section.measured = [record(case) for case in found]
    return section


def findings(found: Sequence[Case]) -> Iterator[Finding]:
    """What was promised, for each pool and measure over all confidences."""
    for pool, name in dict.fromkeys((case.pool, case.measure) for case in found):
        own = [case for case in found if (case.pool, case.measure) == (pool, name)]
        furthest = max(abs(case.deviation) for case in own)
        what = f"{pool}, {name}: coverage beside what is expected"
        yield Finding(what, furthest, "standard errors", BAND, at_most=True)
        for library in sorted(own[0].by.keys() - {OURS}):
            what = f"{pool}, {name}: size beside that of {library}"
            ratio = max(case.by[OURS].size / case.by[library].size for case in own)
            yield Finding(what, ratio, "x", NO_LARGER, at_most=True)


def measure(name: str, pool: Material, splits: int) -> Iterator[Case]:
    """Every measure that serves the pool's model, at every confidence."""
    for each in of_kind("region"):
        try:
            each.fit(pool)
        except Unfitting:
            continue
        yield from _cases(name, pool, each, splits)


def expectation(sizes: Sequence[tuple[int, int]], confidence: float) -> tuple[float, float]:
    """How many test rows are covered, and the variance of that: see the module.

    Args:
        sizes: for each threshold how many calibration rows and how many test rows it has.
        confidence: asked for.
    """
    mean, variance = 0.0, 0.0
    for n, m in sizes:
        share = min(1.0, ceil((n + 1) * confidence - 1e-9) / (n + 1))
        mean += m * share
        variance += m * share * (1 - share) * (n + 1 + m) / (n + 2)
    return mean, variance


def _cases(name: str, pool: Material, each: Measure, splits: int) -> Iterator[Case]:
    rows = len(pool.rows) // 2
    judged: dict[tuple[float, str], list[Judged]] = {}
    expected = {confidence: np.zeros(2) for confidence in CONFIDENCES}
    equal = 0.0
    for split in range(splits):
        order = np.random.default_rng(split).permutation(len(pool.rows))
        known, new = part(pool, order[:rows]), part(pool, order[rows:])
        region: Any = each.restore(pool.spec, each.fit(known).arrays)
        equal += 1 - len(np.unique(region.scores)) / len(region.scores)
        sizes = _sizes(each, region, known, new)
        for confidence in CONFIDENCES:
            expected[confidence] += expectation(sizes, confidence)
            asked = Asked(new.rows, new.scores, confidence, run=new.run)
            found = {OURS: region.columns(asked), **theirs(each.name, known, new, confidence)}
            for library, columns in found.items():
                judged.setdefault((confidence, library), []).append(judge(columns, new.labels))
    tested = splits * (len(pool.rows) - rows)
    for confidence, (mean, variance) in expected.items():
        yield Case(
            pool=name,
            measure=each.name,
            confidence=confidence,
            rows=rows,
            expected=float(mean / tested),
            standard_error=sqrt(variance) / tested,
            from_below=equal / splits > EQUAL,
            by={library: _tally(of) for (at, library), of in judged.items() if at == confidence},
        )


def _sizes(each: Measure, region: Region, known: Material, new: Material) -> list[tuple[int, int]]:
    """Calibration rows and test rows of each threshold."""
    if not each.name.endswith("-by-class"):
        return [(len(region.scores), len(new.rows))]
    counts = [np.bincount(some.labels, minlength=len(known.spec.classes)).tolist() for some in (known, new)]
    return list(zip(*counts, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The test rows of one division, [rows] each."""

    covered: NDArray[np.bool_]
    size: NDArray[np.float64]
    classes: NDArray[np.intp]
    """0 throughout for a regression."""


def judge(columns: Columns, labels: NDArray[Any]) -> Judged:
    """Whether each region holds its label, and how large it is."""
    if "set" in columns:
        sets = columns["set"]
        return Judged(sets[np.arange(len(sets)), labels], sets.sum(axis=1).astype(np.float64), labels)
    low, high = columns["interval"].T
    return Judged((low <= labels) & (labels <= high), high - low, np.zeros(len(labels), dtype=np.intp))


def _tally(judged: Sequence[Judged]) -> Tally:
    covered = np.concatenate([each.covered for each in judged])
    classes = np.concatenate([each.classes for each in judged])
    shares = np.bincount(classes, weights=covered) / np.bincount(classes)
    size = float(np.mean([each.size for each in judged]))
    return Tally(float(covered.mean()), size, float(shares.min()))


def _line(case: Case) -> tuple[str, ...]:
    ours, reach = case.by[OURS], BAND * case.standard_error
    top = 1.0 if case.from_below else case.expected + reach
    cells = [f"{ours.coverage:.4f}", f"{case.expected - reach:.4f} - {top:.4f}", f"{ours.worst_class:.3f}"]
    cells.append(f"{ours.size:.4g}")
    for library in ("MAPIE", "crepes"):
        other = case.by.get(library)
        cells += ["-", "-"] if other is None else [f"{other.coverage:.4f}", f"{other.size:.4g}"]
    return (case.pool, case.measure, f"{case.confidence:g}", *cells)
