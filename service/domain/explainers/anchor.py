"""``anchor``: a rule that holds the decision whatever the other features are, and how surely it does.

With probability 0.95 the precision of the rule that is found is at least the ``precision_lower_bound`` it is
given with, and that is at least 0.95; see ``service.domain.explainers.rules`` for what precision means and
how it is found. That no rule is good enough is an answer; the best one is told with it.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from service.domain.explainers.budget import Budget, Spent
from service.domain.explainers.coalitions import shares_of_time
from service.domain.explainers.game import (
    Ask,
    Explainer,
    Explanation,
    Method,
    OutputKind,
    Subject,
    Unsuitable,
    explained,
    label_of,
    value_function,
)
from service.domain.explainers.predicates import predicates_of, rule_in_words
from service.domain.explainers.rules import LONGEST, PRECISION, Certificate, Rule, RuleSearch
from service.domain.schema import FeatureBatch, label_indices
from service.errors import DeadlineError

_RESERVED = 0.15
"""Share of the budget kept for a certificate of the best rule where none was found."""


class Anchor:
    """The method at work on one model; see the module.

    Args:
        subject: a model that decides between classes, on named columns.

    Raises:
        Unsuitable: there is no decision to hold, or no column to speak of.
    """

    def __init__(self, subject: Subject) -> None:
        if subject.spec.task == "regression":
            raise Unsuitable("a regression makes no decision that a rule could hold")
        if subject.spec.schema.layout == "image":
            raise Unsuitable("a rule over pixels tells nobody anything; ask for occlusion")
        self._subject, self._spec = subject, subject.spec
        self._scores = subject.predict(subject.background)
        self._answers = np.array(label_indices(subject.spec, self._scores), dtype=np.intp)

    def __call__(self, rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        """See ``game.Explainer``; the rule is of the row's own answer; another one asked for is told."""
        output: OutputKind = ask.output or "probability"
        value_function(self._subject, output, label_of(self._spec, ask, 0))
        found: list[Explanation] = []
        for row, turn in zip(rows, shares_of_time(len(rows), due), strict=True):
            if time.monotonic() >= due:
                raise DeadlineError(f"the deadline came before row {len(found)} was looked at")
            found.append(self._one(row, ask, output, turn))
        return found

    def _one(self, row: FeatureBatch, ask: Ask, output: OutputKind, due: float) -> Explanation:
        answered = label_indices(self._spec, self._subject.predict(row[None]))[0]
        held = self._answers == answered
        evaluated, short = 0, None
        wrong = None if ask.label in (None, answered) else "the row does not get the class that is asked for"
        if held.mean() >= PRECISION:  # no rule is needed, and the background's own share is no estimate
            share = float(held.mean())
            detail = {"found": True, **_told([], Certificate(share, share, len(held)), 1.0)}
        else:
            search = RuleSearch(
                predicates_of(self._spec.schema, row, self._subject.background),
                row,
                self._subject.background,
                held,
                lambda scores: np.array(label_indices(self._spec, scores)) == answered,
                ask.seed,
            )
            detail, evaluated, short = self._searched(search, ask.max_evals - 1, due)
        return Explanation(
            method="anchor",
            exact=False,
            output=output,
            label=answered,
            base_value=float(explained(self._scores, output, answered).mean()),
            values=np.empty(0),
            rows_evaluated=evaluated + 1,
            degraded=wrong or (short and f"the search stopped {short}: a better rule may exist"),
            detail=detail,
        )

    def _searched(self, search: RuleSearch, most: int, due: float) -> tuple[dict[str, Any], int, str | None]:
        """What is to be told, the rows evaluated, and where the search stopped early, if it did."""
        budget, short = Budget(self._subject.predict, int(most * (1 - _RESERVED)), due), None
        try:
            found = search.anchor(budget)
        except Spent as spent:
            found, short = None, str(spent)
        if found is not None:
            return {"found": True, **self._document(search, *found)}, budget.rows, None
        rule, rest = search.best(), Budget(self._subject.predict, most - budget.rows, due)
        try:
            certificate = search.certify(rest, rule)
        except Spent as spent:
            certificate, short = Certificate(search.estimate(rule), 0.0, 0), short or str(spent)
        document, evaluated = self._document(search, rule, certificate), budget.rows + rest.rows
        if certificate.lower_bound >= PRECISION:
            return {"found": True, **document}, evaluated, short
        reason = f"no rule of {LONGEST} conditions or fewer was certain to hold in {PRECISION:.0%} of cases"
        return {"found": False, "reason": reason, "best": document}, evaluated, short

    def _document(self, search: RuleSearch, rule: Rule, certificate: Certificate) -> dict[str, Any]:
        said = [search.predicates[index] for index in sorted(rule)]
        return _told(rule_in_words(self._spec.schema, said), certificate, search.coverage(rule))


def _told(rule: list[str], certificate: Certificate, coverage: float) -> dict[str, Any]:
    return {
        "rule": rule,
        "precision": certificate.precision,
        "precision_lower_bound": certificate.lower_bound,
        "coverage": coverage,
        "samples": certificate.samples,
    }


def _build(subject: Subject) -> Explainer:
    return Anchor(subject)


ANCHOR = Method("anchor", _build, additive=False)
