"""How long after a planted change an alert fires, beside the usual rule PSI > 0.2.

A healthy day, then a day of changed rows. Takes half a minute, with ``--quick`` 5 seconds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from load_tests import bundles
from load_tests.drift_false_alarms import RATES
from load_tests.drift_pools import Change, changes, demo
from load_tests.drift_streams import DAY, HOUR, said
from load_tests.report import Finding, record
from load_tests.sections import Circumstances, Section
from service.domain.drift.alerting import LEAST_ROWS, SLOW_EXCESS

TRIALS, QUICK = 100, 10
CLEAR, FAINT = "+ 0.5 sd", "+ 0.1 sd"
"""Changes that a ticket must be written of, and that it is too small for."""
HEADER = (
    "change",
    "rows per hour",
    "ticket: median",
    "90 %",
    "never",
    "missing or unseen: median",
    "never",
    f"slow, 24 h, excess > {SLOW_EXCESS:g}: median",
    "never",
    "PSI > 0.2: median",
    "90 %",
    "never",
    "before it",
)


@dataclass(frozen=True, slots=True)
class Delay:
    """Of one rule, hours from the change to the alert."""

    median: float
    """Infinite where half of the trials have none within a day."""
    ninety: float
    never: float
    """Share of the trials without an alert within a day."""
    before: float
    """Share in which an alert of this rule was firing already when nothing had changed yet."""


@dataclass(frozen=True, slots=True)
class Case:
    """One change at one rate."""

    what: str
    per_hour: int
    trials: int
    ticket: Delay
    unusual: Delay
    slow: Delay
    psi: Delay


def delays(circumstances: Circumstances) -> Section:
    """Every change at every rate."""
    bundles.build(circumstances.home)
    planted = changes(demo(circumstances.home), np.random.default_rng(20261123))
    trials = QUICK if circumstances.quick else TRIALS
    found = []
    for seed, change in enumerate(planted):
        for per_hour in RATES:
            found.append(measure(change, per_hour, trials, seed))
            print(" ".join(_line(found[-1])), file=sys.stderr, flush=True)
    section = Section("Hours from a change to an alert", HEADER)
    section.how = (
        f"{trials} trials each: a healthy day, then a day of changed rows of {bundles.CREDIT}; the first "
        "alert of any variable, looked at every 5 minutes. Tickets, the alert on missing or unseen values "
        "and the slow one ship; PSI > 0.2 over an hour stands beside them. Never: within that day. Before "
        "it: the rule was firing when nothing had changed yet, so that what it says tells nothing; such "
        "trials are left out of its hours."
    )
    section.findings = list(findings(found))
    section.lines = [_line(case) for case in found]
    section.measured = [record(case) for case in found]
    return section


def findings(found: Sequence[Case]) -> Iterator[Finding]:
    """What is promised of a clear change, at rates that tickets are written at; the faint one is reported."""
    for case in found:
        if case.per_hour >= LEAST_ROWS and CLEAR in case.what:
            what = f"{case.what}, {case.per_hour:,} rows an hour: no ticket"
            yield Finding(what, case.ticket.never, "of trials", 0.0, at_most=True)
    faint = [case.ticket.never for case in found if FAINT in case.what]
    yield Finding(f"{FAINT}, all rates: no ticket", float(np.mean(faint)), "of trials")


def measure(change: Change, per_hour: int, trials: int, seed: int) -> Case:
    """All rules on the same streams."""
    binning = change.before.binning
    firing: dict[str, list[NDArray[np.bool_]]] = {}
    for trial in range(trials):
        random = np.random.default_rng([20261123, seed, per_hour, trial])
        live = [pool.stream(per_hour, DAY, random) for pool in (change.before, change.after)]
        for rule, each in said(binning, np.concatenate(live)).items():
            firing.setdefault(rule, []).append(np.asarray(each.any(axis=1)))
    kept = {rule: delay(firing[rule]) for rule in ("ticket", "unusual", "slow", "psi")}
    return Case(change.what, per_hour, trials, **kept)


def delay(firing: Sequence[NDArray[np.bool_]]) -> Delay:
    """Of one rule in every trial, [slots]: the change comes after the first day."""
    already = [bool(each[DAY - 1]) for each in firing]
    waits = []
    for each, was in zip(firing, already, strict=True):
        late = each[DAY:]
        if not was:
            waits.append((int(late.argmax()) + 1) / HOUR if late.any() else math.inf)
    if not waits:
        return Delay(math.nan, math.nan, math.nan, 1.0)
    hours = np.sort(waits)
    never = float(np.isinf(hours).mean())
    middle, late_one = (float(hours[math.ceil(share * len(hours)) - 1]) for share in (0.5, 0.9))
    return Delay(middle, late_one, never, float(np.mean(already)))


def _line(case: Case) -> tuple[str, ...]:
    ticket, psi = case.ticket, case.psi
    return (
        case.what,
        f"{case.per_hour:,}",
        *(_hours(ticket.median), _hours(ticket.ninety), _share(ticket.never)),
        *(_hours(case.unusual.median), _share(case.unusual.never)),
        *(_hours(case.slow.median), _share(case.slow.never)),
        *(_hours(psi.median), _hours(psi.ninety), _share(psi.never), _share(psi.before)),
    )


def _hours(value: float) -> str:
    return f"{value:.1f} h" if math.isfinite(value) else "-"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0%}"
