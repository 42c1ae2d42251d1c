"""What keeps a candidate from promotion whatever its criteria say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from service.domain.evidence.facts import Facts, Rules

MOST_TOO_LARGE = 0.01
"""Share of the mirrored rows that may be too large to mirror: nothing is known about these."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the verdict is what it is."""

    code: str
    detail: str
    """For people."""


def gates(rules: Rules, facts: Facts) -> Iterator[Reason]:
    """Every gate that is shut."""
    if facts.refused is not None:
        yield Reason("refused", facts.refused)
    if facts.behaviour:
        yield Reason("behaviour", f"fails {', '.join(facts.behaviour)}")
    if facts.rows < rules.least_rows:
        yield Reason("thin_data", f"{facts.rows} of at least {rules.least_rows} rows are compared")
    if rules.labels == "required" and facts.labels() < rules.least_labels:
        yield Reason("thin_labels", f"{facts.labels()} of at least {rules.least_labels} rows have labels")
    yield from _traffic(rules, facts)


def _traffic(rules: Rules, facts: Facts) -> Iterator[Reason]:
    if facts.coverage is not None:
        if facts.coverage < rules.least_coverage:
            yield Reason("coverage", f"{facts.coverage:.3g} of the mirrored rows are compared")
        too_large = facts.outcomes.get("too_large", 0) / facts.mirrored
        if too_large > MOST_TOO_LARGE:
            yield Reason("too_large", f"{too_large:.3g} of the rows are too large to mirror")
    if facts.representative is not None and not facts.representative["representative"]:
        first = [variable["variable"] for variable in facts.representative["variables"][:3]]
        yield Reason("not_representative", f"they differ from those left out, most in {', '.join(first)}")
