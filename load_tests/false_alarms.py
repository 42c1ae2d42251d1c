"""How often a verdict that is looked at after every batch is ever wrong about a candidate that is as good.

Beside it stand tests that are made for one look at a number of rows that was fixed beforehand, on the same
rows, looked at as often: McNemar's test, and a z-test for each criterion. Takes about 2 minutes, with
``--quick`` 10 seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from load_tests.report import Finding, record
from load_tests.sections import Circumstances, Section
from load_tests.shadow_worlds import Kind, Looks, Totals, chunks, level, says, shadows, simulate
from service.domain.evidence.bets import Floats
from service.domain.evidence.facts import Rules

BATCH, LOOKS = 100, 1_000
SIMULATIONS, QUICK = 2_000, 40
RULES = Rules()
WORLDS: Mapping[str, list[Kind]] = {
    "0.1 % flips": shadows(0.001),
    "1 % flips": shadows(0.01),
    "4.9 % flips": shadows(0.049),
    "at every margin": shadows(RULES.flip_rate, gap=RULES.gap, failures=RULES.failure_rate),
}
"""Both models are right equally often; no margin is exceeded."""
HEADER = (
    "candidate",
    "ever rollback",
    "ever better",
    "promoted in the end",
    "McNemar: last look",
    "every look",
    "z-tests: last look",
    "every look",
    "every look, alpha divided",
)


@dataclass(frozen=True, slots=True)
class Case:
    """Shares of the simulations of one world."""

    world: str
    simulations: int
    alarm: float
    """Ever rollback, or promote because better."""
    rollback: float
    better: float
    promoted: float
    """At the last look, as no worse."""
    mcnemar_once: float
    """p < alpha at the last look."""
    mcnemar: float
    """At any look from ``least_rows`` on."""
    z_once: float
    """A z-test of any criterion is beyond its margin, or shows an advantage, p < alpha at the last look."""
    z: float
    z_divided: float
    """With alpha divided over the criteria as the verdict does."""


def false_alarms(circumstances: Circumstances) -> Section:
    """Candidates as good as production, in every world."""
    simulations = QUICK if circumstances.quick else SIMULATIONS
    found = []
    for seed, (world, kinds) in enumerate(WORLDS.items()):
        found.append(measure(world, kinds, simulations, seed))
        print(" ".join(_line(found[-1])), file=sys.stderr, flush=True)
    section = Section("False alarms under continuous looking", HEADER)
    section.how = (
        f"{simulations:,} simulated shadows of {BATCH * LOOKS:,} rows each, all labelled, looked at after "
        f"every {BATCH} rows from row {RULES.least_rows:,} on. Both models are right equally often, and "
        f"nothing is beyond a margin. Share that is ever wrong, at alpha {RULES.alpha:g}, beside fixed-n "
        f"tests at p < {RULES.alpha:g} on the same rows: McNemar's, and a z-test for every criterion."
    )
    section.findings = list(findings(found))
    section.lines = [_line(case) for case in found]
    section.measured = [record(case) for case in found]
    return section


def findings(found: Sequence[Case]) -> list[Finding]:
    """What was promised, for each world."""
    return [
        Finding(f"{case.world}: ever better or rollback", case.alarm, "of shadows", RULES.alpha, at_most=True)
        for case in found
    ]


def measure(world: str, kinds: list[Kind], simulations: int, seed: int) -> Case:
    """One world; the same rows for all tests."""
    rng = np.random.default_rng([20261122, seed])
    ever: list[Floats] = []
    for size in chunks(simulations):
        totals = simulate(kinds, size, LOOKS, BATCH, rng)
        said = says(RULES, totals)
        enough = totals.compared >= RULES.least_rows
        mcnemar = np.abs(advantage(totals)) > z(RULES.alpha)
        plain, divided = (beyond(RULES, totals, alpha) for alpha in (RULES.alpha, level(RULES)))
        ever.append(
            np.stack(
                [
                    _ever(said.alarm),
                    _ever(said.rollback),
                    _ever(said.better),
                    said.promote[:, -1] & ~said.better[:, -1],
                    mcnemar[:, -1],
                    _ever(mcnemar & enough),
                    plain[:, -1],
                    _ever(plain & enough),
                    _ever(divided & enough),
                ]
            ).astype(np.float64)
        )
    return Case(world, simulations, *np.concatenate(ever, axis=1).mean(axis=1).tolist())


def z(alpha: float) -> float:
    """Standard errors of a two-sided test."""
    return NormalDist().inv_cdf(1 - alpha / 2)


def advantage(totals: Totals) -> Floats:
    """McNemar's statistic, in standard errors; 0 where no row is discordant."""
    found: Floats = (totals.gained - totals.lost) / np.sqrt(np.maximum(totals.flips, 1.0))
    return found


def beyond(rules: Rules, totals: Totals, alpha: float) -> Looks:
    """What fixed-n tests at ``alpha`` would alarm for: beyond a margin, or better than production."""
    n = totals.compared
    limits = [
        (totals.flips, n, rules.flip_rate),
        (totals.failed, n + totals.failed, rules.failure_rate),
    ]
    scores = [(hits - rows * m) / np.sqrt(rows * m * (1 - m)) for hits, rows, m in limits]
    scores += [
        _score(totals.gap - n * rules.gap, totals.gap_deviation),
        _score(totals.loss - n * rules.loss, totals.loss_deviation),
        _score(-totals.loss, totals.loss_deviation),
        _score(totals.lost - totals.gained - n * rules.accuracy, totals.flips),
        advantage(totals),
    ]
    return np.asarray(np.stack(scores).max(axis=0) > z(alpha))


def _score(apart: Floats, squares: Floats) -> Floats:
    found: Floats = apart / np.sqrt(np.maximum(squares, 1e-12))
    return found


def _ever(looks: Looks) -> Looks:
    return np.asarray(looks.any(axis=1))


def _line(case: Case) -> tuple[str, ...]:
    shares = (
        case.rollback,
        case.better,
        case.promoted,
        case.mcnemar_once,
        case.mcnemar,
        case.z_once,
        case.z,
        case.z_divided,
    )
    return (case.world, *(f"{100 * share:.2f} %" for share in shares))
