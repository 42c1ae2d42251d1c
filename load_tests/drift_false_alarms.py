"""How often alerts on drift fire on days on which nothing changed.

Beside the alerts that ship stands the usual rule, PSI above a bound over an hour whatever the number of rows.
Takes a minute, with ``--quick`` 3 seconds.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from load_tests import bundles
from load_tests.drift_pools import demo
from load_tests.drift_streams import DAY, Pool, said, started
from load_tests.report import Finding, record
from load_tests.sections import Circumstances, Section
from service.domain.drift.alerting import SLOW_EXCESS

RATES = (50, 500, 5_000, 50_000)
"""Rows per hour."""
DAYS, QUICK = 1_000, 30
CHAIN = 10
"""Days in a row, after one that fills the windows."""
AGAIN = 10
"""How often a row is sent where callers repeat themselves."""
MOST = 0.01
"""Alerts per day and model on which nobody needs to act: one in a hundred days."""
HEADER = (
    "rows per hour",
    "rows are sent",
    "ticket, alerts/day",
    "page",
    "missing or unseen",
    f"slow: 24 h, excess > {SLOW_EXCESS:g}",
    "PSI > 0.2",
    "PSI > 0.1",
)
RULES = ("ticket", "page", "unusual", "slow", "psi", "psi_low")


@dataclass(frozen=True, slots=True)
class Case:
    """Alerts of all variables of the model."""

    per_hour: int
    times: int
    days: int
    ticket: int
    page: int
    unusual: int
    slow: int
    psi: int
    psi_low: int

    @property
    def shipped(self) -> float:
        """Alerts per day by the rules that ship; a page has its ticket, a slow alert may have one."""
        return (self.ticket + self.unusual + self.slow) / self.days


def false_alarms(circumstances: Circumstances) -> Section:
    """Every rate, with rows that come once; and with rows that come ten times."""
    bundles.build(circumstances.home)
    pool = demo(circumstances.home).pool()
    days = QUICK if circumstances.quick else DAYS
    found = []
    for times in (1, AGAIN):
        for seed, rate in enumerate(RATES):
            found.append(measure(pool, rate, times, days, seed))
            print(" ".join(_line(found[-1])), file=sys.stderr, flush=True)
    section = Section("Alerts on healthy days", HEADER)
    section.how = (
        f"{days:,} simulated days of applications that no bundle has learnt from, drawn whole, by a Poisson "
        f"process; all {len(pool.binning.variables)} variables of {bundles.CREDIT}, looked at every 5 "
        "minutes. Alerts that begin to fire per day and model, with the 95 % interval of a Poisson count. "
        "The rule over 24 h must hold for an hour, all others for 15 minutes. The two of plain PSI do not "
        f"ship. Where rows are sent {AGAIN} times, they are no independent sample."
    )
    section.findings = list(findings(found))
    section.lines = [_line(case) for case in found]
    section.measured = [record(case) for case in found]
    return section


def findings(found: Sequence[Case]) -> list[Finding]:
    """What is promised of independent rows."""
    return [
        Finding(
            f"{case.per_hour:,} rows an hour: tickets of all kinds", case.shipped, "a day", MOST, at_most=True
        )
        for case in found
        if case.times == 1
    ]


def measure(pool: Pool, per_hour: int, times: int, days: int, seed: int) -> Case:
    """Alerts on so many days of one rate."""
    counts: Counter[str] = Counter()
    for chain, first in enumerate(range(0, days, CHAIN)):
        random = np.random.default_rng([20261123, seed, times, chain])
        asked = min(CHAIN, days - first)
        live = pool.stream(per_hour, (asked + 1) * DAY, random, times)
        counts.update({rule: started(firing[DAY:]) for rule, firing in said(pool.binning, live).items()})
    return Case(per_hour, times, days, *(counts[rule] for rule in RULES))


def interval(alerts: int, days: int) -> tuple[float, float]:
    """The 95 % interval of alerts per day (Garwood 1936)."""
    low = chi2.ppf(0.025, 2 * alerts) / 2 if alerts else 0.0
    return float(low) / days, float(chi2.ppf(0.975, 2 * alerts + 2)) / 2 / days


def _line(case: Case) -> tuple[str, ...]:
    def per_day(alerts: int) -> str:
        low, high = interval(alerts, case.days)
        return f"{alerts / case.days:.3g} ({low:.2g} to {high:.2g})"

    sent = "once" if case.times == 1 else f"{case.times} times"
    return (f"{case.per_hour:,}", sent, *(per_day(getattr(case, rule)) for rule in RULES))
