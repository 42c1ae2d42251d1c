"""How much more traffic the whole verdict needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from service.domain.evidence.criteria import Criterion
from service.domain.evidence.facts import Facts, Rules
from service.domain.evidence.gates import gates

_ROWS_WILL_DO = frozenset({"thin_data", "thin_labels"})


def outlook(rules: Rules, facts: Facts, criteria: Sequence[Criterion]) -> int | None:
    """Further compared rows until promote or rollback, if everything goes on as it has so far.

    Rollback needs the first criterion that fails, promotion all of them. Labelled rows, and those of slices,
    are counted by the traffic that brings them.
    """
    missing = max(rules.least_rows - facts.rows, 0)
    failing = [each for each in criteria if each.state == "fail" or each.headed_for_failure]
    if failing:
        needs = [0 if each.state == "fail" else _traffic(facts, each) for each in failing]
        known = [need for need in needs if need is not None]
        return None if facts.refused is not None or not known else max(missing, min(known))
    shut = {reason.code for reason in gates(rules, facts)}
    needs = [_traffic(facts, each) for each in criteria if each.state == "open"]
    if "thin_labels" in shut:
        needs.append(_until_labelled(rules, facts))
    known = [need for need in needs if need is not None]
    return None if shut - _ROWS_WILL_DO or len(known) < len(needs) else max([missing, *known])


def _traffic(facts: Facts, criterion: Criterion) -> int | None:
    """Compared rows that bring as many of the criterion's own as it needs."""
    if criterion.more_rows is None:
        return None
    share = max(criterion.rows / facts.rows, 1e-9) if criterion.question.labelled and facts.rows else 1.0
    return math.ceil(criterion.more_rows / share)


def _until_labelled(rules: Rules, facts: Facts) -> int | None:
    labels = facts.labels()
    return math.ceil((rules.least_labels - labels) * facts.rows / labels) if labels else None
