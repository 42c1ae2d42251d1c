"""The two-sample test: what it says of healthy rows, and of rows in which a change is planted.

Rows of the demo arrive in any order, some 1,760 applications that come again and again; a hundred at a time
are looked at, as in the shadow. Takes 40 seconds, with ``--quick`` 10 seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from load_tests import bundles
from load_tests.drift_pools import SHIFTED, Demo, Rows, demo, shifted
from load_tests.drift_streams import Floats
from load_tests.report import Finding, record
from load_tests.sections import Circumstances, Section
from models.bundle import open_bundle
from service.domain.drift.alerting import SURE, deviations, told_apart
from service.domain.drift.two_sample import TwoSample

BATCH = 100
PER_HOUR = 5_000
HOURS = 24
TRIALS, QUICK = 10, 2
LASTING = PER_HOUR // BATCH // 2
"""Looks for which the alert must have been due: half an hour."""
HEADER = (
    "rows",
    "accuracy over an hour: mean",
    "least",
    "most",
    "z: most",
    "alert after: median",
    "never",
)

Change: TypeAlias = Callable[[Rows], Rows]


@dataclass(frozen=True, slots=True)
class Case:
    """Over all hours of all trials."""

    what: str
    trials: int
    mean: float
    """Accuracy over an hour, from the first full hour on."""
    least: float
    most: float
    z: float
    """The largest."""
    hours: float
    """Until the alert, in the median; infinite where half of the trials have none."""
    never: float


def together(circumstances: Circumstances) -> Section:
    """Healthy rows, rows whose columns were shuffled one by one, and shifts of one column."""
    bundles.build(circumstances.home)
    usual = demo(circumstances.home)
    reference = open_bundle(bundles.locate(circumstances.home, bundles.CREDIT)).background()
    trials = QUICK if circumstances.quick else TRIALS
    found = []
    for what, change in planted(usual).items():
        found.append(measure(what, usual, reference, change, trials))
        print(" ".join(_line(found[-1])), file=sys.stderr, flush=True)
    section = Section("What variables do together", HEADER)
    section.how = (
        f"{trials} trials of {HOURS} hours with {PER_HOUR:,} rows an hour, {len(reference):,} reference "
        f"rows, another seed each. The alert is the one that ships: z of an hour above {SURE:g} for half an "
        "hour. z counts the chance of which reference rows are tested."
    )
    section.findings = list(findings(found))
    section.lines = [_line(case) for case in found]
    section.measured = [record(case) for case in found]
    return section


def findings(found: Sequence[Case]) -> list[Finding]:
    """Healthy rows come first."""
    healthy, shuffled = found[:2]
    return [
        Finding("healthy rows: trials with an alert", 1 - healthy.never, "of trials", 0.0, at_most=True),
        Finding("shuffled columns: trials without an alert", shuffled.never, "of trials", 0.0, at_most=True),
    ]


def planted(usual: Demo) -> Mapping[str, Change]:
    """What happens to rows, by name."""
    lots = np.random.default_rng(20261123)
    return {
        "healthy": lambda rows: rows,
        "columns shuffled": lambda rows: lots.permuted(rows, axis=0),
        **{f"{SHIFTED} + {by} sd": shifted(usual, by) for by in (0.1, 0.3, 0.5)},
    }


def measure(what: str, usual: Demo, reference: Rows, change: Change, trials: int) -> Case:
    """Changed rows from the first one on."""
    per_hour = PER_HOUR // BATCH
    hours: list[Floats] = []
    waits = []
    for trial in range(trials):
        random = np.random.default_rng([20261123, trial])
        test = TwoSample.of(usual.spec, reference, trial)
        looks = np.empty((per_hour * HOURS, 2))
        for place in range(len(looks)):
            drawn = usual.rows[random.integers(len(usual.rows), size=BATCH)]
            looks[place] = test.look(change(drawn))
        sums = looks.cumsum(axis=0)
        hours.append(sums[per_hour:] - sums[:-per_hour])
        waits.append(_waited(hours[-1], per_hour))
    right, rows = np.concatenate(hours).T
    accuracy = right / rows
    best = int(accuracy.argmax())
    z = deviations(float(accuracy[best]), float(rows[best]))
    return Case(
        what,
        trials,
        float(accuracy.mean()),
        float(accuracy.min()),
        float(accuracy.max()),
        z,
        float(np.sort(waits)[(len(waits) - 1) // 2]),
        float(np.isinf(waits).mean()),
    )


def _waited(hours: Floats, per_hour: int) -> float:
    """Hours until the alert fires; infinite where it never does."""
    due: NDArray[np.bool_] = np.array([told_apart(*each) for each in hours])
    runs = np.convolve(due, np.ones(LASTING + 1), "valid") > LASTING + 0.5
    return float(runs.argmax() + LASTING + 1 + per_hour) / per_hour if runs.any() else np.inf


def _line(case: Case) -> tuple[str, ...]:
    return (
        case.what,
        f"{case.mean:.3f}",
        f"{case.least:.3f}",
        f"{case.most:.3f}",
        f"{case.z:.1f}",
        f"{case.hours:.1f} h" if np.isfinite(case.hours) else "-",
        f"{case.never:.0%}",
    )
