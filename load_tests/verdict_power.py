"""Rows until the verdict's criteria decide about planted differences, beside the fixed-n minimum.

The minimum is the number of rows that a two-sided test of the same level needs to find the same difference
with a probability of 80 %, if somebody had known the difference beforehand, fixed the number, and looked
once: an exact binomial test for shares, McNemar's test or a z-test with the true variance for differences.
Takes about half a minute, with ``--quick`` 5 seconds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from load_tests.report import Finding, record
from load_tests.sections import Circumstances, Section
from load_tests.shadow_worlds import Looks, Totals, asked, chunks, level, shadows, simulate
from service.domain.evidence.facts import Rules

RULES = Rules(flip_rate=0.02, accuracy=0.005)
SIMULATIONS, QUICK = 400, 40
POWER = 0.8
LOOKS = 400
"""Looks in the time that a fixed-n test takes."""
PATIENCE = 8
"""Times the fixed-n minimum, after which a simulation counts as undecided."""
MOST = 2.0
"""Times the fixed-n minimum that the median may take."""
DISCORDANT = 0.05
"""Share of the rows that only one model gets right, where an advantage is planted."""
HEADER = ("planted", "decision", "fixed n", "median", "80 %", "90 %", "median ratio", "80 %", "90 %")

Decision: TypeAlias = Literal["pass", "fail", "better"]


@dataclass(frozen=True, slots=True)
class Plant:
    """A difference, the criterion that should notice, and what it should say."""

    what: str
    criterion: str
    decision: Decision
    flips: float
    advantage: float = 0.0

    def decided(self, totals: Totals) -> Looks:
        """Whether the criterion says so, at every look."""
        question, alpha = asked(RULES, totals)[self.criterion], level(RULES)
        if self.decision == "better":
            return question.excludes_zero(alpha)
        return question.passes(alpha) if self.decision == "pass" else question.fails(alpha)


PLANTS = (
    Plant("0.5 % flips, 2 % allowed", "flip_rate", "pass", 0.005),
    Plant("1 % flips, 2 % allowed", "flip_rate", "pass", 0.01),
    Plant("5 % flips, 2 % allowed", "flip_rate", "fail", 0.05),
    Plant("accuracy +2 points", "accuracy", "better", DISCORDANT, 0.02),
    Plant("accuracy +1 point", "accuracy", "better", DISCORDANT, 0.01),
    Plant("accuracy -1 point, -0.5 allowed", "accuracy", "fail", DISCORDANT, -0.01),
    Plant("accuracy -2 points, -0.5 allowed", "accuracy", "fail", DISCORDANT, -0.02),
)


@dataclass(frozen=True, slots=True)
class Case:
    """Rows until one planted difference is noticed."""

    what: str
    decision: Decision
    fixed: int
    median: float
    eighty: float
    """By then 80 % of the simulations are decided, as many as by the fixed-n test."""
    ninety: float


def power(circumstances: Circumstances) -> Section:
    """Every planted difference."""
    simulations = QUICK if circumstances.quick else SIMULATIONS
    found = []
    for seed, plant in enumerate(PLANTS):
        found.append(measure(plant, simulations, seed))
        print(" ".join(_line(found[-1])), file=sys.stderr, flush=True)
    section = Section("Rows to a verdict", HEADER)
    section.how = (
        f"{simulations} simulated shadows for each planted difference, looked at {LOOKS} times in the rows "
        f"that a fixed-n test takes. Every criterion has the level {level(RULES):.4f}, alpha {RULES.alpha:g} "
        "divided by six; the fixed-n minimum is that of a two-sided test of the same level with power "
        f"{POWER:g}, which has to know the difference and may look once, exact for shares. So the ratio of "
        "the 80 % quantile is the price of looking always; half of the shadows are decided by the median. "
        f"Where accuracy differs, {DISCORDANT:.0%} of the rows are discordant."
    )
    section.findings = [
        Finding(f"{case.what}: median rows, times fixed n", case.median / case.fixed, "x", MOST, at_most=True)
        for case in found
    ]
    section.lines = [_line(case) for case in found]
    section.measured = [record(case) for case in found]
    return section


def measure(plant: Plant, simulations: int, seed: int) -> Case:
    """One planted difference."""
    fixed, rng = fixed_n(plant), np.random.default_rng([20261123, seed])
    batch = max(1, fixed // LOOKS)
    looks = math.ceil(PATIENCE * fixed / batch)
    kinds = shadows(plant.flips, failures=0.0, advantage=plant.advantage)
    rows: list[NDArray[np.float64]] = []
    for size in chunks(simulations, 20):
        decided = plant.decided(simulate(kinds, size, looks, batch, rng))
        first = (decided.argmax(axis=1) + 1.0) * batch
        rows.append(np.where(decided.any(axis=1), first, math.inf))
    quantiles = np.quantile(np.concatenate(rows), (0.5, 0.8, 0.9), method="higher")
    return Case(plant.what, plant.decision, fixed, *quantiles.tolist())


def fixed_n(plant: Plant) -> int:
    """Rows of the smallest fixed-n test, two-sided at the criterion's level, that finds it with ``POWER``."""
    alpha = level(RULES)
    if plant.criterion == "flip_rate":
        return smallest(lambda n: binomial_power(n, plant.flips, RULES.flip_rate, alpha))
    margin = 0.0 if plant.decision == "better" else -RULES.accuracy
    sure, likely = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(POWER)
    spread = math.sqrt(plant.flips - plant.advantage**2)
    # at a margin of nought the test knows that discordant rows are a fair coin's, elsewhere it does not
    under_null = math.sqrt(plant.flips) if margin == 0 else spread
    return math.ceil(((sure * under_null + likely * spread) / (plant.advantage - margin)) ** 2)


def binomial_power(n: NDArray[np.int64], share: float, margin: float, alpha: float) -> NDArray[np.float64]:
    """Of the exact two-sided binomial test of ``margin`` against ``share``, on its own side."""
    if share < margin:
        most = binom.ppf(alpha / 2, n, margin)
        most -= binom.cdf(most, n, margin) > alpha / 2
        return np.asarray(binom.cdf(most, n, share))
    least = binom.isf(alpha / 2, n, margin)
    return np.asarray(binom.sf(least, n, share))


def smallest(found: Callable[[NDArray[np.int64]], NDArray[np.float64]]) -> int:
    """The first n with at least ``POWER``."""
    for start in range(1, 10**7, 10_000):
        n = np.arange(start, start + 10_000)
        enough = found(n) >= POWER
        if enough.any():
            return int(n[enough.argmax()])
    raise ValueError("no number of rows is enough")


def _line(case: Case) -> tuple[str, ...]:
    rows = (case.median, case.eighty, case.ninety)
    return (
        case.what,
        case.decision,
        f"{case.fixed:,}",
        *(f"{each:,.0f}" for each in rows),
        *(f"{each / case.fixed:.2f}" for each in rows),
    )
