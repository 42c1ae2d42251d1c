"""Which criteria there are for a pair of models, whatever was seen of them so far.

That there are as many before the first row as in the end is what makes it right to divide alpha by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from service.domain.disagreement.gap import cap
from service.domain.disagreement.measure import Sums
from service.domain.evidence.bets import Difference, Evidence, Mean, Proportion
from service.domain.evidence.criteria import Question
from service.domain.evidence.facts import Facts, Rules
from service.domain.evidence.sequential import bounds
from service.domain.evidence.sheet import Sheet
from service.domain.slices import ALL


def level(rules: Rules, facts: Facts) -> float:
    """The alpha of each criterion; both upper bounds of the noise share one more."""
    whole = 2 if facts.agreement.pair.production.classes else 1
    labelled = 0 if rules.labels == "ignored" else whole + len(facts.slices)
    return rules.alpha / (3 + labelled + 1)


def questions(rules: Rules, facts: Facts) -> list[Question]:
    """All criteria, those of the compared rows first."""
    asked = [*_changes(rules, facts), _failures(rules, facts)]
    if rules.labels != "ignored":
        asked += _labelled(rules, facts)
    return asked


def _changes(rules: Rules, facts: Facts) -> Iterator[Question]:
    alpha = level(rules, facts)
    weigh: Callable[[Sheet, Sums], Evidence]
    for name, weigh, margin in (_moved(rules, facts), ("gap", gap, rules.gap)):
        evidence = weigh(facts.agreement, facts.compared)
        noise = _noise(facts, weigh, alpha)
        yield Question(name, "at_most", margin, evidence, noise=noise, change=True)


def _noise(facts: Facts, weigh: Callable[[Sheet, Sums], Evidence], alpha: float) -> float:
    """What production differs from itself at most, run again in any way; 0 where it never was.

    The bound is that of all ways together: some have few rows, and a bound of theirs would excuse anything.
    A way that is seen to differ by more than that counts as it is.
    """
    ways = [sums for sums in facts.noise.values() if sums[0]]
    if not ways:
        return 0.0
    together = bounds(weigh(facts.itself, np.sum(ways, axis=0)), alpha).high
    return max(together, *(weigh(facts.itself, sums).value for sums in ways))


def _moved(rules: Rules, facts: Facts) -> tuple[str, Callable[[Sheet, Sums], Evidence], float]:
    classes = facts.agreement.pair.production.classes
    return (
        ("flip_rate", flipped, rules.flip_rate) if classes else ("beyond_tolerance", beyond, rules.flip_rate)
    )


def _failures(rules: Rules, facts: Facts) -> Question:
    """Rows of one batch fail together, so this decides sooner than single failures of as many rows would."""
    evidence = Proportion(facts.failed, facts.rows + facts.failed)
    return Question("failures", "at_most", rules.failure_rate, evidence)


def _labelled(rules: Rules, facts: Facts) -> Iterator[Question]:
    """Of a slice one of both, because each costs alpha: what its model is for."""
    sheet, none = facts.judgement, facts.judgement.empty()
    classes = bool(facts.agreement.pair.production.classes)

    def accuracy(margin: float, name: str) -> Question:
        evidence = right(sheet, facts.labelled.get(name, none))
        return Question("accuracy", "at_least", -margin, evidence, name, labelled=True)

    def lost(margin: float, name: str) -> Question:
        evidence = loss(sheet, facts.labelled.get(name, none))
        return Question("loss", "at_most", margin, evidence, name, labelled=True)

    if classes:
        yield accuracy(rules.accuracy, ALL)
    yield lost(rules.loss, ALL)
    for name in facts.slices if facts.sliced else ():
        yield (accuracy if classes else lost)(rules.slice_accuracy, name)


def flipped(sheet: Sheet, sums: Sums) -> Proportion:
    """Rows whose label changed."""
    return Proportion(float(sheet.part("flips", sums).sum()), float(sums[0]))


def beyond(sheet: Sheet, sums: Sums) -> Proportion:
    """Rows that are not within the tolerance."""
    return Proportion(float(sums[0]) - sheet.column("tolerance/within", sums), float(sums[0]))


def gap(sheet: Sheet, sums: Sums) -> Mean:
    """The mean gap, in spreads; of a regression each is cut off, because bounds need a largest number."""
    total, deviation = (sheet.column(f"gap/{name}", sums) for name in ("capped", "deviation"))
    return Mean(total, deviation, float(sums[0]), 0.0, cap(sheet.pair))


def right(sheet: Sheet, sums: Sums) -> Difference:
    """How much more often the candidate was right."""
    gained, lost = (sheet.column(f"accuracy/{who}", sums) for who in ("candidate_only", "production_only"))
    return Difference(gained, lost, float(sums[0]))


def loss(sheet: Sheet, sums: Sums) -> Mean:
    """How much larger the candidate's loss was."""
    total, deviation = (sheet.column(f"loss/{name}", sums) for name in ("difference", "deviation"))
    return Mean(total, deviation, float(sums[0]), -1.0, 1.0)
