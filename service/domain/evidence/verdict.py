"""Promote, hold or roll back: one answer, right however often it is looked at.

The declared alpha bounds the probability that it *ever* says rollback of a candidate that is within every
margin, or promote because it is better of one that is not better; and, criterion by criterion, that it says
no worse of one that is. See ``service.domain.evidence.sequential`` for what this rests on.

Two-sided bounds at the same level serve all of it: that a candidate is better is read from the same bounds
as that it is no worse. Where labels prove it better, the criteria that only ask for sameness are waived.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from service.domain.evidence.criteria import Criterion, judge
from service.domain.evidence.facts import Facts, Rules
from service.domain.evidence.gates import Reason, gates
from service.domain.evidence.outlook import outlook
from service.domain.evidence.questions import level, questions
from service.domain.slices import ALL

__all__ = ["Facts", "Reason", "Rules", "State", "Verdict", "verdict"]

State: TypeAlias = Literal["promote", "hold", "rollback"]
Because: TypeAlias = Literal["better", "no_worse"]


@dataclass(frozen=True, eq=False)
class Verdict:
    """What to do with a candidate, and why."""

    state: State
    because: Because | None
    """Of a promotion."""
    reasons: tuple[Reason, ...]
    alpha: float
    """Of the whole verdict."""
    criteria: tuple[Criterion, ...]
    facts: Facts
    rules: Rules

    @property
    def more_rows(self) -> int | None:
        """Further compared rows until it is decided, if they go on as so far; None where nobody can say."""
        if self.state != "hold":
            return None
        return outlook(self.rules, self.facts, self.criteria)

    def to_document(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "state": self.state,
            "because": self.because,
            "reasons": [{"code": reason.code, "detail": reason.detail} for reason in self.reasons],
            "alpha": self.alpha,
            "criteria": [criterion.to_document() for criterion in self.criteria],
            "more_rows": self.more_rows,
        }


def verdict(rules: Rules, facts: Facts) -> Verdict:
    """Judges one candidate by all that was seen of it; about 1 ms, and 10 ms more for its document."""
    alpha = level(rules, facts)
    criteria = tuple(judge(question, alpha) for question in questions(rules, facts))
    criteria = tuple(_counting(rules, facts, each) for each in criteria)
    better = _better(criteria)
    if better:
        criteria = tuple(_waived(each) if each.question.change else each for each in criteria)
    failing = [each for each in criteria if each.state == "fail"]
    shut = tuple(gates(rules, facts))
    state: State = "hold"
    because: Because | None = None
    if failing and facts.refused is None and facts.rows + facts.failed >= rules.least_rows:
        state, reasons = "rollback", tuple(_said(failing))
    elif not shut and all(each.state in ("pass", "waived") for each in criteria):
        state, because = "promote", "better" if better else "no_worse"
        reasons = ()
    else:
        reasons = (*shut, *_said([each for each in criteria if each.state in ("open", "fail")]))
    return Verdict(state, because, reasons, rules.alpha, criteria, facts, rules)


def _counting(rules: Rules, facts: Facts, criterion: Criterion) -> Criterion:
    """Waived while labels are too few to count, and nobody requires them."""
    if not criterion.question.labelled or rules.labels == "required":
        return criterion
    if facts.labels() < rules.least_labels:
        return _waived(criterion)
    few = facts.labels(criterion.slice) < rules.least_labels
    return _waived(criterion) if few and criterion.state == "open" else criterion


def _better(criteria: Sequence[Criterion]) -> bool:
    """Whether labels prove it better in something, worse in nothing, and in no slice beyond the margin."""
    counting = [each for each in criteria if each.question.labelled and each.state != "waived"]
    whole = [each for each in counting if each.slice == ALL]
    if any(each.state == "fail" for each in counting):
        return False
    if any(bool(each.question.excludes_zero(each.alpha, worse=True)) for each in whole):
        return False
    return any(bool(each.question.excludes_zero(each.alpha)) for each in whole)


def _waived(criterion: Criterion) -> Criterion:
    return replace(criterion, state="waived")


def _said(criteria: Sequence[Criterion]) -> Iterator[Reason]:
    for each in criteria:
        where = "" if each.slice == ALL else f" in {each.slice}"
        limit = f"{each.question.direction.replace('_', ' ')} {each.question.margin:.3g}"
        value = "no rows yet" if each.value is None else f"{each.value:.3g} of {each.rows} rows"
        yield Reason(each.name, f"{_STANDS[each.state]}{where}: {value}, {limit}")


_STANDS = {"fail": "surely beyond its margin", "open": "undecided"}
