"""The dashboards as Grafana reads them, and what is asked in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deploy.grafana.__main__ import FOLDER
from deploy.metrics import families
from deploy.prometheus import recording

FILES: tuple[Path, ...] = tuple(sorted(FOLDER.glob("*.json")))
FOREIGN = {"ALERTS", "up", "scrape_duration_seconds"}
"""Series that Prometheus makes itself."""
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_NAME = re.compile(r"(?<![\w.:])[a-zA-Z_:][\w:]*(?!\w|\s*\()")
_OPERATORS = {"and", "or", "unless", "bool", "offset"}
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


class Asked(NamedTuple):
    """One query of one panel."""

    panel: str
    expr: str

    def __str__(self) -> str:
        return f"{self.panel}: {self.expr}"


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def panels(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Without the headings of rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def asked(board: Mapping[str, Any]) -> Iterator[Asked]:
    for panel in panels(board):
        for target in panel["targets"]:
            yield Asked(f"{board['title']}, {panel['title']}", target["expr"])


def choices(board: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What people choose, by name."""
    return {choice["name"]: choice for choice in board["templating"]["list"]}


def variables(text: str) -> set[str]:
    """Names of Grafana's variables in a text."""
    return set(_VARIABLE.findall(text))


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text as Grafana sends it; raises ``KeyError`` for a variable without a value."""
    return _VARIABLE.sub(lambda found: values[found[1]], text)


def names(expr: str) -> set[str]:
    """Names of the series in PromQL without variables."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", expr)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", bare)
    return set(_NAME.findall(_GROUPING.sub(" ", bare))) - _OPERATORS


def known() -> set[str]:
    """Names of all series that the service exports, or that rules record."""
    exported = set()
    for family in families():
        histogram = family.type == "histogram"
        exported |= {family.name + end for end in (("_bucket", "_sum", "_count") if histogram else ("",))}
    return exported | {rule["record"] for group in recording.groups() for rule in group["rules"]}
