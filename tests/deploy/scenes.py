"""Scenes: what replicas export for a while, and which alerts fire when.

A scene feeds families as the service exports them, a value a minute, and both rule files are evaluated every
five minutes, recording rules first. So an alert that holds from minute t on and must last 15 minutes is
pending at t, t + 5 and t + 10, and fires at t + 15.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.prometheus import alerts, recording
from deploy.prometheus.alarms.alarm import PREFIX, RUNBOOKS
from deploy.prometheus.promql import Group
from tests.conftest import locate
from tests.deploy.promtool import selector

Labels = Mapping[str, str]
EVALUATION = "5m"
JOB = {"job": "shop", "instance": "a"}
"""Of every scraped series that says nothing else."""
FIRING = 'ALERTS{alertstate="firing"}'


def steady(rate: float, minutes: int) -> list[float]:
    """A counter that grows evenly from 0."""
    return grown((rate, minutes))


def grown(*phases: tuple[float, int]) -> list[float]:
    """A counter from 0 on, by phases of so much a minute for so many minutes."""
    values = [0.0]
    for rate, minutes in phases:
        values += [values[-1] + rate * (minute + 1) for minute in range(minutes)]
    return values


def held(*phases: tuple[float | None, int]) -> list[float | None]:
    """A gauge that has a value for so many minutes; None where it is not exported."""
    return [value for value, minutes in phases for _ in range(minutes)]


@dataclass(frozen=True, slots=True)
class Check:
    """Which alerts fire at one minute: all of them, each with its labels."""

    minute: int
    firing: tuple[Labels, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """What people read of one alert that fires."""

    minute: int
    labels: Labels
    summary: str
    description: str


@dataclass(slots=True)
class Scene:
    """What happens, and what is told of it: of a rule all that it tells at that minute, or nothing."""

    name: str
    series: list[dict[str, str]] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)

    def has(self, name: str, labels: Labels, values: Sequence[float | None]) -> Scene:
        """Adds a series with a value for each minute."""
        words = " ".join("_" if value is None else f"{value:.12g}" for value in values)
        self.series.append({"series": selector(name, {**JOB, **labels}), "values": words})
        return self

    def quiet(self, *minutes: int) -> Scene:
        """That nothing fires at these minutes."""
        return self.fires_at(minutes)

    def fires(self, minute: int, *firing: Labels) -> Scene:
        """That these alerts fire, and no others; ``alertname`` without its prefix."""
        return self.fires_at([minute], *firing)

    def fires_at(self, minutes: Iterable[int], *firing: Labels) -> Scene:
        full = tuple({**labels, "alertname": PREFIX + labels["alertname"]} for labels in firing)
        self.checks += [Check(minute, full) for minute in minutes]
        return self

    def tells(self, minute: int, labels: Labels, summary: str, description: str) -> Scene:
        """What one of the alerts says that fire then."""
        full = {**labels, "alertname": PREFIX + labels["alertname"]}
        self.told.append(Told(minute, full, summary, description))
        return self

    def test(self) -> dict[str, Any]:
        """As promtool has it: nothing else may fire."""
        asked = [_asked(check.minute, FIRING, check.firing) for check in self.checks]
        return {**self._played(), "promql_expr_test": asked, "alert_rule_test": list(_tellings(self.told))}

    def test_of(self, rules: Mapping[str, Labels]) -> dict[str, Any]:
        """The same of single rules that bear other names: what each would fire, by its own labels."""
        asked: list[dict[str, Any]] = []
        told: list[dict[str, Any]] = []
        for alias, own in rules.items():
            renamed = {"alertname": alias}
            for check in self.checks:
                expected = [{**labels, **renamed} for labels in check.firing if own.items() <= labels.items()]
                query = f'ALERTS{{alertstate="firing", alertname="{alias}"}}'
                asked.append(_asked(check.minute, query, expected))
            mine = [each for each in self.told if own.items() <= each.labels.items()]
            told += _tellings(mine, alias)
        return {**self._played(), "promql_expr_test": asked, "alert_rule_test": told}

    def _played(self) -> dict[str, Any]:
        return {"name": self.name, "interval": "1m", "input_series": self.series}


def _asked(minute: int, query: str, firing: Iterable[Labels]) -> dict[str, Any]:
    series = [selector("ALERTS", {**labels, "alertstate": "firing"}) for labels in firing]
    samples = [{"labels": each, "value": 1} for each in series]
    return {"expr": query, "eval_time": f"{minute}m", "exp_samples": samples}


def _tellings(told: Iterable[Told], alias: str | None = None) -> Iterator[dict[str, Any]]:
    """promtool wants to know all alerts of a name at once."""
    together: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for each in told:
        labels = dict(each.labels)
        name = labels.pop("alertname")
        annotations = {
            "summary": each.summary,
            "description": each.description,
            "runbook_url": f"{RUNBOOKS}/{name}.md",
        }
        expected = {"exp_labels": labels, "exp_annotations": annotations}
        together.setdefault((each.minute, alias or name), []).append(expected)
    for (minute, name), expected_alerts in together.items():
        yield {"eval_time": f"{minute}m", "alertname": name, "exp_alerts": expected_alerts}


@dataclass(frozen=True, slots=True)
class Trial:
    """Scenes under some rules."""

    groups: Sequence[Group]
    tests: Sequence[dict[str, Any]]
    evaluation: str = EVALUATION

    def write(self, folder: Path, name: str) -> Path:
        """Its files, in JSON, which YAML is a kind of, since that is written a hundred times faster."""
        rules, path = folder / f"{name}.rules.yml", folder / f"{name}.yml"
        rules.write_text(json.dumps({"groups": self.groups}), encoding="utf-8")
        document = {
            "rule_files": [rules.name],
            "evaluation_interval": self.evaluation,
            "group_eval_order": [group["name"] for group in self.groups],
            "tests": self.tests,
        }
        path.write_text(json.dumps(document), encoding="utf-8")
        return path


RECORDED: Mapping[str, dict[str, Any]] = {
    rule["record"]: rule for group in recording.groups() for rule in group["rules"]
}
"""Every recording rule by its name, in the order of the file."""
READ = re.compile(r"understudy:[\w:]+")
"""A recorded name."""


def needed(exprs: Iterable[str]) -> list[str]:
    """Recorded names that expressions read, and those that these read; in the order of the file."""
    found: set[str] = set()
    waiting = {name for expr in exprs for name in READ.findall(expr)}
    while waiting:
        found |= waiting
        waiting = {name for each in waiting for name in READ.findall(RECORDED[each]["expr"])} - found
    return [name for name in RECORDED if name in found]


def shipped() -> list[Group]:
    """All alert rules, after the recording rules that any of them reads."""
    found = alerts.groups()
    names = needed(rule["expr"] for group in found for rule in group["rules"])
    return [{"name": "recorded", "rules": [RECORDED[name] for name in names]}, *found]


def objections(trials: Mapping[str, Trial], folder: Path, processes: int = 2) -> dict[str, str]:
    """What promtool has to say against each trial, by its name; nothing where all went as expected."""
    paths = {
        name: trial.write(folder, f"trial-{place}") for place, (name, trial) in enumerate(trials.items())
    }
    names = list(paths)
    parts = [names[start::processes] for start in range(processes)]
    with ThreadPoolExecutor(processes) as pool:
        found = pool.map(lambda part: _run([paths[name] for name in part]), [part for part in parts if part])
        said = [text for texts in found for text in texts]
    ordered = [name for part in parts for name in part]
    by_name = dict(zip(ordered, said, strict=True))
    return {name: by_name[name] for name in names}


def _run(paths: Sequence[Path]) -> list[str]:
    """What promtool says of each file, in their order."""
    program = locate("promtool")
    assert program is not None
    command = [str(program), "test", "rules", *map(str, paths)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False
    )
    parts = done.stdout.split("Unit Testing: ")[1:]
    assert len(parts) == len(paths), done.stdout
    for word in ("parse error", "unmarshal", "no such file"):  # what cannot be read is no verdict on a rule
        assert word not in done.stdout, done.stdout
    return ["" if "SUCCESS" in part else part for part in parts]
