"""The search for a rule that holds a decision (Ribeiro, Singh & Guestrin, AAAI 2018).

A rule's *precision* is the share of rows that keep the answer among background rows made to obey it: a column
that breaks the rule takes the value of a background row that does not. Its *coverage* is the share of
background rows that obey it as they are.

Rules are chosen on some samples and certified on others. A certificate is a Clopper-Pearson lower bound; one
search looks at its certificates ``_MOST_LOOKS`` times at most, and each look may err with probability
(1 - CONFIDENCE) / _MOST_LOOKS. So with probability ``CONFIDENCE`` every bound that a search gives is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from service.domain.explainers.budget import Budget, Spent
from service.domain.explainers.predicates import Predicate
from service.domain.schema import FeatureBatch, Scores

PRECISION = 0.95
"""A rule is an anchor when its precision is certain to be no less."""

CONFIDENCE = 0.95
LONGEST = 8
"""Predicates of a rule at most."""

_TRIED, _FIRST, _BEAM, _MORE = 12, 20, 4, 40
"""Of each length: rules that are sampled, rows of each, rules that go on, further rows of each."""

_ATTEMPTS = 2
"""Rules of one length that are certified at most."""

_LOOKS = (128, 256, 512, 1024)
"""Fresh rows after which a certificate is looked at; 128 that all hold are enough."""

_MOST_LOOKS = 30

Rule: TypeAlias = frozenset[int]
"""Indices into the row's predicates."""

Kept: TypeAlias = Callable[[Scores], NDArray[np.bool_]]
"""Which scores [rows, outputs] are still the row's own answer, [rows]."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Rows made to obey a rule, and which of them kept the answer."""

    rows: FeatureBatch
    held: NDArray[np.bool_]

    @property
    def precision(self) -> float:
        """Of the rule, as far as these rows tell."""
        return float(self.held.mean())


@dataclass(frozen=True, slots=True)
class Certificate:
    """What fresh rows say of a rule's precision."""

    precision: float
    lower_bound: float
    samples: int


class RuleSearch:
    """Looks for the anchor of one row.

    Args:
        predicates: what is true of the row, see ``predicates_of``.
        row: the canonical row, [width].
        background: reference rows, [rows, width].
        held: which of these get the row's answer as they are, [rows].
        kept: which scores are the row's answer.
        seed: of every draw.
    """

    def __init__(
        self,
        predicates: list[Predicate],
        row: FeatureBatch,
        background: FeatureBatch,
        held: NDArray[np.bool_],
        kept: Kept,
        seed: int,
    ) -> None:
        self.predicates = predicates
        self._row, self._background, self._kept = row, background, kept
        self._holds = np.array([p.holds(background) for p in predicates]).reshape(-1, len(background))
        self._samples: dict[Rule, Sample] = {frozenset(): Sample(background, held)}
        self._looks = 0
        self._rng = np.random.default_rng(seed)

    def anchor(self, budget: Budget) -> tuple[Rule, Certificate] | None:
        """The shortest rule that can be certified, widened as far as that stays certain; None without one.

        Raises:
            Spent: the budget ran out before there was one.
        """
        beam: list[Rule] = [frozenset()]
        for _ in range(LONGEST):
            rules = self._longer(beam)[:_TRIED]
            if not rules:
                return None
            self._sample(budget, rules, _FIRST)
            beam = sorted(rules, key=self._rank)[:_BEAM]
            self._sample(budget, beam, _MORE)
            promising = [rule for rule in rules if self._smoothed(rule) >= PRECISION]
            for rule in sorted(promising, key=lambda rule: -self.coverage(rule))[:_ATTEMPTS]:
                certificate = self.certify(budget, rule)
                if certificate.lower_bound >= PRECISION:
                    return self._widened(budget, rule, certificate)
        return None

    def best(self) -> Rule:
        """The rule whose samples held most; few samples count for less."""
        return min(self._samples, key=self._rank)

    def estimate(self, rule: Rule) -> float:
        """The precision of a rule in the samples it was chosen by, which flatter it."""
        return self._samples[rule].precision

    def coverage(self, rule: Rule) -> float:
        """Share of the background rows that obey a rule."""
        return float(self._obeyed(rule).mean())

    def certify(self, budget: Budget, rule: Rule) -> Certificate:
        """Draws fresh rows until the rule is good enough, cannot become so, or the looks are used up.

        Raises:
            Spent: not even a first look could be had.
        """
        if self._looks == _MOST_LOOKS:
            raise Spent(f"after the {_MOST_LOOKS} looks at certificates that keep them sound")
        held, drawn, lower = 0, 0, 0.0
        for target in _LOOKS:
            if drawn and (budget.left == 0 or self._looks == _MOST_LOOKS or not _hopeful(held, drawn)):
                break
            rows = self._obeying(rule, min(target - drawn, max(1, budget.left)))
            held += int(self._kept(budget.scores(rows)).sum())
            drawn += len(rows)
            self._looks += 1
            lower = max(lower, lower_bound(held, drawn))
            if lower >= PRECISION:
                break
        return Certificate(held / drawn, lower, drawn)

    def _widened(self, budget: Budget, rule: Rule, certificate: Certificate) -> tuple[Rule, Certificate]:
        """The rule with conditions loosened or left out, one at a time, as long as it can be certified."""
        try:
            while True:
                wider = [other for other in self._wider(rule) if other not in self._samples]
                if wider:
                    self._sample(budget, wider, _FIRST + _MORE)
                promising = [other for other in self._wider(rule) if self._smoothed(other) >= PRECISION]
                for other in sorted(promising, key=lambda other: -self.coverage(other))[:_ATTEMPTS]:
                    found = self.certify(budget, other)
                    if found.lower_bound >= PRECISION:
                        rule, certificate = other, found
                        break
                else:
                    return rule, certificate
        except Spent:
            return rule, certificate

    def _wider(self, rule: Rule) -> list[Rule]:
        """The rules that say one thing less, or say it of the next larger part of the background."""
        found: list[Rule] = []
        for index in sorted(rule):
            mine, sizes = self.predicates[index], self._holds.sum(axis=1)
            looser = [
                other
                for other, predicate in enumerate(self.predicates)
                if (predicate.column, predicate.relation) == (mine.column, mine.relation)
                and sizes[other] > sizes[index]
            ]
            found.append(rule - {index} | set(sorted(looser, key=lambda other: int(sizes[other]))[:1]))
        return found

    def _longer(self, beam: Iterable[Rule]) -> list[Rule]:
        """Rules with one more predicate, the most promising first by the samples of the rules they extend."""
        promise: dict[Rule, tuple[float, float]] = {}
        for rule in beam:
            sample = self._samples[rule]
            true = np.array([predicate.holds(sample.rows) for predicate in self.predicates])
            true = true.reshape(-1, len(sample.rows))
            held = true[:, sample.held].sum(axis=1) + 2 * sample.precision
            shares = held / (true.sum(axis=1) + 2)
            shares[~self._holds.any(axis=1)] = 1  # nothing was ever seen like it: it is worth a try
            covers = (self._holds & self._obeyed(rule)).mean(axis=1).tolist()
            for index, found in enumerate(zip(shares.tolist(), covers, strict=True)):
                longer = self._with(rule, index)
                if longer is not None and longer not in self._samples:
                    promise[longer] = max(promise.get(longer, (0.0, 0.0)), found)
        return sorted(promise, key=lambda rule: (-promise[rule][0], -promise[rule][1], sorted(rule)))

    def _with(self, rule: Rule, index: int) -> Rule | None:
        """The rule with one more predicate, without those that this one implies; None if it says no more."""
        column, mine = self.predicates[index].column, self._holds[index]
        same = [other for other in rule if self.predicates[other].column == column]
        if any((mine | ~self._holds[other]).all() for other in same):
            return None
        return rule - {other for other in same if (self._holds[other] | ~mine).all()} | {index}

    def _rank(self, rule: Rule) -> tuple[float, float, list[int]]:
        return -self._smoothed(rule), -self.coverage(rule), sorted(rule)

    def _smoothed(self, rule: Rule) -> float:
        """The share of a rule's samples that held, with one more of either kind."""
        held = self._samples[rule].held
        return float((held.sum() + 1) / (len(held) + 2))

    def _sample(self, budget: Budget, rules: list[Rule], count: int) -> None:
        """Adds ``count`` evaluated rows to the sample of each rule."""
        rows = np.concatenate([self._obeying(rule, count) for rule in rules])
        held = self._kept(budget.scores(rows))
        for place, rule in enumerate(rules):
            part = slice(place * count, (place + 1) * count)
            more = Sample(rows[part], held[part])
            before = self._samples.get(rule)
            self._samples[rule] = more if before is None else _joined(before, more)

    def _obeyed(self, rule: Rule) -> NDArray[np.bool_]:
        """Which background rows obey a rule, [background rows]."""
        return np.asarray(self._holds[list(rule)].all(axis=0))

    def _obeying(self, rule: Rule, count: int) -> FeatureBatch:
        """Background rows drawn at random and made to obey a rule, [count, width]."""
        drawn = self._rng.integers(len(self._background), size=count)
        rows = self._background[drawn]
        for column in sorted({self.predicates[index].column for index in rule}):
            said = frozenset(index for index in rule if self.predicates[index].column == column)
            obeyed = self._obeyed(said)
            breaks, donors = ~obeyed[drawn], np.flatnonzero(obeyed)
            if len(donors):
                chosen = self._rng.choice(donors, size=int(breaks.sum()))
                rows[breaks, column] = self._background[chosen, column]
            else:  # nothing in the background is like it, so the row's own value is all there is
                rows[breaks, column] = self._row[column]
        return rows


def lower_bound(held: int, drawn: int) -> float:
    """A lower bound of the share of which ``held`` of ``drawn`` were seen; see the module for how sure.

    Clopper & Pearson, Biometrika 26, 1934, one-sided.
    """
    error = (1 - CONFIDENCE) / _MOST_LOOKS
    return float(betaincinv(held, drawn - held + 1, error)) if held else 0.0


def _hopeful(held: int, drawn: int) -> bool:
    """Whether a later look would do if the rows to come held as the ones so far."""
    return any(
        lower_bound(round(target * held / drawn), target) >= PRECISION for target in _LOOKS if target > drawn
    )


def _joined(one: Sample, other: Sample) -> Sample:
    return Sample(np.concatenate([one.rows, other.rows]), np.concatenate([one.held, other.held]))
