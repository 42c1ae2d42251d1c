"""One alert rule, and what all of them have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any, Literal, TypeAlias

from deploy.prometheus.promql import Group
from deploy.prometheus.windows import OFTEN

PREFIX = "Understudy"
"""Of every alert's name."""
RUNBOOKS = "deploy/runbooks"
"""Where runbooks are in the repository; the external label ``runbooks`` says where people read them."""

Severity: TypeAlias = Literal["ticket", "page"]
"""A ticket can wait for the morning; a page means that callers are harmed now."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """When somebody is told what."""

    name: str
    """After ``PREFIX``; the runbook has the full name. Two rules of one name differ in their labels."""
    severity: Severity
    expr: str
    """PromQL; an indented text of several lines is fine."""
    lasting: str
    """How long it must hold without a break."""
    summary: str
    description: str
    """Values in words; Prometheus' templates."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Beside the severity and what the expression leaves."""

    @property
    def alert(self) -> str:
        """The full name."""
        return PREFIX + self.name

    def entry(self) -> dict[str, Any]:
        """As YAML has it."""
        base = f"{{{{ with $externalLabels.runbooks }}}}{{{{ . }}}}{{{{ else }}}}{RUNBOOKS}{{{{ end }}}}"
        return {
            "alert": self.alert,
            "expr": dedent(self.expr).strip(),
            "for": self.lasting,
            "labels": {"severity": self.severity, **self.labels},
            "annotations": {
                "summary": _line(self.summary),
                "description": _line(self.description),
                "runbook_url": f"{base}/{self.alert}.md",
            },
        }


def group(name: str, alarms: Iterable[Alarm]) -> Group:
    """Alerts that are looked at often."""
    entries = [alarm.entry() for alarm in alarms]
    return {"name": f"understudy-alerts-{name}", "interval": OFTEN, "rules": entries}


def _line(text: str) -> str:
    return " ".join(text.split())
