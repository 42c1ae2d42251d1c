"""What befalls a shadow's container in ``load_tests.sidecar``, and how much of it a caller felt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import numpy as np

from load_tests import bundles
from load_tests.containers import Limits
from load_tests.machine import DISTURBED_ABOVE
from load_tests.report import Finding
from load_tests.resampling import Latencies, Ratio, pooled_ratio
from load_tests.sidecars import CRAMPED, SHADOW, Fault, busy, crashing, frozen, greedy, nothing

LARGEST_RATIO = 1.10


@dataclass(frozen=True, slots=True)
class Condition:
    """What the shadow's container holds, may have and suffers."""

    name: str
    candidate: str | None = bundles.SIBLING
    fault: Fault = nothing
    limits: Limits = SHADOW
    started: bool = True
    """Whether the container is there at all."""
    works: bool = True
    """Whether rows must be compared before anything is measured."""
    idle_priority: bool = True
    promised: bool = True
    """Whether a ratio above the target counts as missed; the others show why a figure is as it is."""


ALONE = Condition("no shadow", candidate=None, started=False, works=False, promised=False)
NULL = replace(ALONE, name="no shadow, again")
CONDITIONS = (
    Condition("a good shadow"),
    Condition("30x slower candidate", bundles.SLOW),
    Condition("a busy loop beside the shadow", fault=busy),
    Condition("killed for its memory by the kernel", fault=greedy),
    Condition("killed for its memory by its keeper", limits=replace(SHADOW, memory=CRAMPED), works=False),
    Condition("crashing in a loop", fault=crashing),
    Condition("frozen, its socket full", fault=frozen),
    Condition("absent", started=False, works=False),
)
WHY = tuple(
    Condition(
        f"slow, {name}", bundles.SLOW, limits=replace(SHADOW, **changes), idle_priority=idle, promised=False
    )
    for name, idle, changes in (
        ("ordinary priority", False, {}),
        ("a request of 50m", True, {"cpu_request": 0.05}),
        ("a request of 50m, ordinary priority", False, {"cpu_request": 0.05}),
        ("half a core", True, {"cpu_limit": 0.5}),
        ("a tenth of a core", True, {"cpu_limit": 0.1}),
        ("no CPU limit", True, {"cpu_limit": None}),
        ("an idle group", True, {"idle": True}),
    )
)
"""The same load under other limits: what a manifest could ask for; the last only a node's owner can."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run."""

    latencies: Latencies
    """Seconds."""
    failures: Mapping[str, int]
    foreign_share: float
    """Of a core that others used."""
    shadow_cpu: float = 0.0
    """Of a core; 0 without cgroups."""
    throttled: int = 0
    killed: int = 0

    @property
    def p99(self) -> float:
        """Milliseconds."""
        return _milliseconds([self], 99)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "p50": round(_milliseconds([self], 50), 4),
            "p99": round(self.p99, 4),
            "max": round(_milliseconds([self], 100), 3),
            "answered": len(self.latencies),
            "failures": dict(self.failures),
            "foreign_share": round(self.foreign_share, 4),
            "shadow_cpu": round(self.shadow_cpu, 4),
            "throttled": self.throttled,
            "killed": self.killed,
        }


@dataclass(slots=True)
class Trial:
    """A condition and its runs, one a cycle."""

    condition: Condition
    where: str
    how: str = ""
    runs: list[Outcome] = field(default_factory=list)
    missing: int = 0
    """Rows that no outcome accounts for, once nothing moves any more."""
    coverage: float | None = None
    """Share of all its rows that were compared."""

    @property
    def name(self) -> str:
        return f"{self.condition.name}{self.where}"

    def ratio(self, others: Sequence[Trial]) -> Ratio:
        """Of the p99s of all answers, these to those of ``others``, which have runs of the same cycles."""
        cycles = quiet_cycles([self, *others])
        theirs = [np.concatenate([other.runs[i].latencies for other in others]) for i in cycles]
        return pooled_ratio([self.runs[i].latencies for i in cycles], theirs)

    def findings(self, ratio: Ratio) -> list[Finding]:
        """What is promised of it."""
        target = LARGEST_RATIO if self.condition.promised else None
        failed = sum(sum(run.failures.values()) for run in self.runs)
        return [
            Finding(f"{self.name}: p99 / p99 without", ratio.value, "x", target, at_most=True),
            Finding(f"{self.name}: failed answers", failed, "", 0, at_most=True),
            Finding(f"{self.name}: rows without an outcome", abs(self.missing), "", 0, at_most=True),
        ]

    def row(self, ratio: Ratio, others: Sequence[Trial]) -> tuple[str, ...]:
        """Of the table."""
        pairs = zip(self.runs, *(other.runs for other in others), strict=True)
        typical = median(run.p99 / float(np.mean([each.p99 for each in rest])) for run, *rest in pairs)
        return (
            self.name,
            f"{_milliseconds(self.runs, 50):.2f}",
            f"{_milliseconds(self.runs, 99):.2f}",
            str(ratio),
            f"{typical:.2f}",
            f"{_milliseconds(self.runs, 100):.0f}",
            f"{median(run.shadow_cpu for run in self.runs):.0%}",
            str(sum(run.throttled for run in self.runs)),
            str(sum(run.killed for run in self.runs)),
            "-" if self.coverage is None else f"{self.coverage:.0%}",
            f"{median(run.foreign_share for run in self.runs):.0%}",
        )


HEADER = (
    "condition",
    "p50 ms",
    "p99 ms",
    "ratio (90 % sure)",
    "median of cycles",
    "max ms",
    "shadow's core",
    "throttled",
    "killed",
    "compared",
    "others",
)


def quiet_cycles(trials: Sequence[Trial]) -> list[int]:
    """Cycles in which others left all these runs alone; all where there is none such."""
    cycles = range(len(trials[0].runs))
    quiet = [i for i in cycles if max(trial.runs[i].foreign_share for trial in trials) <= DISTURBED_ABOVE]
    return quiet or list(cycles)


def _milliseconds(runs: Sequence[Outcome], percent: float) -> float:
    """Of all their answers; infinite where there is none."""
    found = np.concatenate([run.latencies for run in runs])
    return 1e3 * float(np.percentile(found, percent, method="inverted_cdf")) if len(found) else float("inf")
