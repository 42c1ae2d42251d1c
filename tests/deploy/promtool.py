"""Rules on made-up series, by ``promtool test rules``."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import locate

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "recording.yml"


def selector(name: str, labels: Mapping[str, str]) -> str:
    """A series as PromQL writes it."""
    inside = ", ".join(f"{key}={quoted(value)}" for key, value in labels.items())
    return f"{name}{{{inside}}}"


def quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(slots=True)
class World:
    """Series with a value for each ``interval``, and what must be recorded at ``at``."""

    interval: str
    evaluation: str
    at: str
    series: list[dict[str, str]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def has(self, name: str, labels: Mapping[str, str], values: str) -> None:
        """Adds a series in promtool's notation of values."""
        self.series.append({"series": selector(name, labels), "values": values})

    def expects(self, name: str, labels: Mapping[str, str], value: float, within: float = 1e-6) -> None:
        """That the series has this value, relatively ``within``; nothing is 0 but 0."""
        value = float(value)  # numpy's own are written with their type
        close = f"<= bool {within!r} * {abs(value)!r} + 1e-12"
        self.asks(f"abs({selector(name, labels)} - {value!r}) {close}", [(dict(labels), 1.0)])

    def expects_none(self, query: str) -> None:
        self.asks(query, [])

    def asks(self, query: str, answer: Sequence[tuple[Mapping[str, str], float]]) -> None:
        samples = [{"labels": selector("", labels), "value": value} for labels, value in answer]
        self.asked.append({"expr": query, "eval_time": self.at, "exp_samples": samples})

    def document(self, rules: Path) -> dict[str, Any]:
        test = {
            "interval": self.interval,
            "input_series": self.series,
            "promql_expr_test": self.asked,
        }
        return {"rule_files": [str(rules)], "evaluation_interval": self.evaluation, "tests": [test]}


def disagreements(world: World, folder: Path, rules: Path = RULES) -> str:
    """What promtool has to say against the world's expectations; nothing where all hold."""
    path = folder / "scenario.yml"
    path.write_text(yaml.safe_dump(world.document(rules), width=10_000), encoding="utf-8")
    program = locate("promtool")
    assert program is not None
    done = subprocess.run(
        [program, "test", "rules", path], capture_output=True, text=True, timeout=100, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr
