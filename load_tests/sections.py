"""One comparison of a report: what was promised, the table behind it, and the raw numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from load_tests import report
from load_tests.report import Finding


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where and how thoroughly to measure."""

    quick: bool
    home: Path
    """Where the measured bundles are kept; see ``load_tests.bundles.build``."""
    cores: tuple[int, int]
    """Of the server, and of this process."""
    contained: bool = False
    """Whether servers run in a CPU cgroup, as in a container."""


@dataclass(slots=True)
class Section:
    """One comparison."""

    title: str
    header: tuple[str, ...]
    how: str = ""
    """How it was measured, in a sentence or two."""
    findings: list[Finding] = field(default_factory=list)
    lines: list[tuple[str, ...]] = field(default_factory=list)
    measured: list[dict[str, Any]] = field(default_factory=list)

    @property
    def missed(self) -> bool:
        """Whether a promise was not kept."""
        return any(finding.verdict == "not met" for finding in self.findings)

    def readable(self) -> str:
        """Markdown."""
        parts = [f"## {self.title}", self.how, report.findings_table(self.findings)]
        return "\n\n".join([*filter(None, parts), report.table(self.header, self.lines)])

    def as_dict(self) -> dict[str, Any]:
        findings = report.as_records(self.findings)
        return {"title": self.title, "how": self.how, "findings": findings, "measured": self.measured}
