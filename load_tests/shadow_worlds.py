"""Simulated shadows: rows of a few kinds, and what a verdict would have said after every batch.

All rows of one kind are alike, so the totals after a batch need only how many of each there were, which is a
multinomial draw: the same as drawing every row, and a thousand times as fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.evidence.bets import Difference, Floats, Mean, Proportion
from service.domain.evidence.criteria import Question
from service.domain.evidence.facts import Rules

Looks = NDArray[np.bool_]
"""[simulations, looks]"""


@dataclass(frozen=True, slots=True)
class Kind:
    """Rows that are alike."""

    share: float
    gap: float = 0.0
    right: int = 0
    """1 where only the candidate is right, -1 where only production is: the label flips."""
    loss: float = 0.0
    """The candidate's minus production's."""
    failed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """Sums since the first row, [simulations, looks] each."""

    failed: Floats
    compared: Floats
    gained: Floats
    lost: Floats
    gap: Floats
    gap_deviation: Floats
    loss: Floats
    loss_deviation: Floats

    @property
    def flips(self) -> Floats:
        return self.gained + self.lost


def shadows(flips: float, gap: float = 0.0264, failures: float = 0.001, advantage: float = 0.0) -> list[Kind]:
    """The kinds of rows of one candidate.

    Args:
        flips: share of the compared rows that get another label. Of two classes one is right, so each of
            these is won by one model.
        gap: the mean gap; a flip has 0.15, the other rows what is left.
        failures: share of the rows on which the candidate fails.
        advantage: how much more often the candidate is right, as a share of the rows.
    """
    compared, plain = 1 - failures, (gap - 0.15 * flips) / (1 - flips)
    won, lost = compared * (flips + advantage) / 2, compared * (flips - advantage) / 2
    same = compared * (1 - flips) / 2
    kinds = [
        Kind(same, plain, loss=plain / 2),
        Kind(same, plain, loss=-plain / 2),
        Kind(won, 0.15, right=1, loss=-0.1),
        Kind(lost, 0.15, right=-1, loss=0.1),
        Kind(failures, failed=True),
    ]
    if min(kind.share for kind in kinds) < 0 or plain < 0:
        raise ValueError("no such shares")
    return kinds


def simulate(kinds: list[Kind], simulations: int, looks: int, batch: int, rng: np.random.Generator) -> Totals:
    """Totals after each of ``looks`` batches of ``batch`` rows."""
    counts = rng.multinomial(batch, [kind.share for kind in kinds], (simulations, looks)).astype(np.float64)
    running = counts.cumsum(axis=1)

    def over(each: list[float], of: Floats = running) -> Floats:
        found: Floats = of @ np.array(each)
        return found

    gaps, losses = [kind.gap for kind in kinds], [kind.loss for kind in kinds]
    there = [0.0 if kind.failed else 1.0 for kind in kinds]
    compared, gap = over(there), over(gaps)
    guess = np.zeros_like(gap)  # the mean of the batches before, as the shadow guesses
    np.divide(gap[:, :-1], compared[:, :-1], out=guess[:, 1:], where=compared[:, :-1] > 0)
    squares, sums, rows = (over(each, counts) for each in ([x * x for x in gaps], gaps, there))
    return Totals(
        failed=over([float(kind.failed) for kind in kinds]),
        compared=compared,
        gained=over([float(kind.right > 0) for kind in kinds]),
        lost=over([float(kind.right < 0) for kind in kinds]),
        gap=gap,
        gap_deviation=(squares - 2 * guess * sums + guess * guess * rows).cumsum(axis=1),
        loss=over(losses),
        loss_deviation=over([x * x for x in losses]),
    )


def chunks(simulations: int, size: int = 50) -> Iterator[int]:
    """Simulations that fit into memory and cache together."""
    yield from (min(size, simulations - start) for start in range(0, simulations, size))


CRITERIA = 5
"""Of a model with two classes and labels, without slices."""


def level(rules: Rules) -> float:
    """As ``service.domain.evidence.questions.level`` for these."""
    return rules.alpha / (CRITERIA + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What the verdict says at every look."""

    rollback: Looks
    promote: Looks
    better: Looks
    """Promotes because it is better."""

    @property
    def alarm(self) -> Looks:
        """What must not be said of a candidate that is as good as production."""
        return self.rollback | self.better


def asked(rules: Rules, totals: Totals) -> dict[str, Question]:
    """The criteria over all simulations and looks at once; every row has its label."""
    n = totals.compared
    flips, failures = Proportion(totals.flips, n), Proportion(totals.failed, n + totals.failed)
    gap, loss = (
        Mean(totals.gap, totals.gap_deviation, n),
        Mean(totals.loss, totals.loss_deviation, n, -1.0, 1.0),
    )
    right = Difference(totals.gained, totals.lost, n)
    return {
        "flip_rate": Question("flip_rate", "at_most", rules.flip_rate, flips, change=True),
        "gap": Question("gap", "at_most", rules.gap, gap, change=True),
        "failures": Question("failures", "at_most", rules.failure_rate, failures),
        "accuracy": Question("accuracy", "at_least", -rules.accuracy, right, labelled=True),
        "loss": Question("loss", "at_most", rules.loss, loss, labelled=True),
    }


def says(rules: Rules, totals: Totals) -> Said:
    """``service.domain.evidence.verdict`` for arrays: all gates open but those for thin data."""
    questions, alpha = asked(rules, totals), level(rules)
    passes = {name: each.passes(alpha) for name, each in questions.items()}
    fails = {name: each.fails(alpha) for name, each in questions.items()}
    counts = totals.compared >= rules.least_labels
    labelled = [name for name, each in questions.items() if each.labelled]
    harm = np.any([fails[name] for name in labelled], axis=0) & counts
    better, worse = (
        np.any([questions[name].excludes_zero(alpha, worse=side) for name in labelled], axis=0)
        for side in (False, True)
    )
    better &= counts & ~harm & ~worse
    changed = (fails["flip_rate"] | fails["gap"]) & ~better
    rollback = (harm | changed | fails["failures"]) & (totals.compared + totals.failed >= rules.least_rows)
    alike = (passes["flip_rate"] & passes["gap"]) | better
    fine = np.all([passes[name] for name in labelled], axis=0) | ~counts
    promote = alike & passes["failures"] & fine & (totals.compared >= rules.least_rows) & ~rollback
    return Said(rollback, promote, promote & better)
