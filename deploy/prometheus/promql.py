"""Recording rules and groups of them, and what several of them share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import Template
from textwrap import dedent
from typing import Any, TypeAlias

from deploy.prometheus.windows import INTERVALS, OFTEN

Group: TypeAlias = dict[str, Any]
"""One group of a rule file, as YAML has it."""

PREFIX = "understudy:"
"""Of every recorded name."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is recorded under which name."""

    record: str
    """After ``PREFIX``; by Prometheus' custom WHAT:HOW, labels are what WHAT says."""
    expr: str
    """PromQL; an indented text of several lines is fine."""

    def entry(self) -> dict[str, str]:
        """As YAML has it."""
        return {"record": PREFIX + self.record, "expr": dedent(self.expr).strip()}


def group(name: str, interval: str, rules: Iterable[Rule]) -> Group:
    """Rules that are evaluated one after the other, each seeing what those before it recorded just now."""
    entries = [rule.entry() for rule in rules]
    return {"name": f"understudy-{name}", "interval": interval, "rules": entries}


def filled(rules: Sequence[Rule], **values: object) -> list[Rule]:
    """The rules with ``$NAME`` replaced in names and expressions; ``$$`` is a dollar."""
    return [
        Rule(Template(rule.record).substitute(values), Template(rule.expr).substitute(values))
        for rule in rules
    ]


def groups_over(
    name: str, windows: Iterable[str], rules: Sequence[Rule], others: Iterable[Rule]
) -> list[Group]:
    """The rules for each window ``$w``, in one group for all windows that are looked at equally often.

    Args:
        others: rules of no or of one window; they are evaluated often, before the rest.
    """
    found = {OFTEN: list(others)}
    for window in windows:
        found.setdefault(INTERVALS[window], []).extend(filled(rules, w=window))
    return [
        group(name if interval == OFTEN else f"{name}-{interval}", interval, every)
        for interval, every in found.items()
    ]


def over(part: str, whole: str) -> str:
    """A share: absent where there is no whole, nought where there is a whole and no such part yet.

    A counter's series is born with its first event, so that a part may lack where the whole is there.
    """
    return f"({part} or {whole} * 0) / ({whole} > 0)"
