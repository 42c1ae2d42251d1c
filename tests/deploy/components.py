"""The components of progressive delivery and scaling as their files have them, and their queries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.deploy.argo import filled

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes" / "components"
NAMES = ("argo-rollouts", "flagger", "gateway", "keda")
CANDIDATE = "credit:gbm-2"


class Asked(NamedTuple):
    """A PromQL query with its placeholders filled, and when its value is good and bad."""

    name: str
    query: str
    good: str
    """As PromQL filters it: an operator and a number."""
    bad: str


def documents(component: str) -> list[dict[str, Any]]:
    """Every resource of a component."""
    paths = sorted(path for path in (FOLDER / component).glob("*.yaml") if path.stem != "kustomization")
    return [each for path in paths for each in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def of_kind(component: str, kind: str) -> dict[str, dict[str, Any]]:
    """The specifications of a kind, by name."""
    return {each["metadata"]["name"]: each["spec"] for each in documents(component) if each["kind"] == kind}


def defaults(template: Mapping[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in template["args"] if "value" in each}


def argo_queries(namespace: str = "shop") -> Iterator[Asked]:
    """Of all AnalysisTemplates, of the pods with the hash ``7d9f``."""
    for name, template in of_kind("argo-rollouts", "AnalysisTemplate").items():
        args = defaults(template) | {"namespace": namespace, "candidate": CANDIDATE, "hash": "7d9f"}
        for metric in template["metrics"]:
            if provider := metric["provider"].get("prometheus"):
                yield Asked(
                    f"{name} {metric['name']}",
                    filled(provider["query"], args),
                    bound(metric["successCondition"]),
                    bound(metric["failureCondition"]),
                )


def bound(condition: str) -> str:
    """The operator and the number of a condition that first asks whether there is a value."""
    found = re.fullmatch(r"len\(result\) > 0 && result\[0\] (.+)", condition)
    assert found, condition
    return found[1]


LIMITS = {
    "error-ratio": ("<= 0.01", "> 0.01"),
    "p99-seconds": ("<= 0.05", "> 0.05"),
    "flip-ratio": ("<= 0.05", "> 0.05"),
    "coverage-ratio": (">= 0.5", "< 0.5"),
    "verdict-promote": (">= 1", "< 1"),
    "sample-ratio-mismatch": ("<= 0.25", "> 0.25"),
}
"""What Flagger's metrics are compared with; a Canary's thresholds agree where it uses them."""


def flagger_queries(namespace: str = "shop", interval: str = "5m") -> Iterator[Asked]:
    """Of all MetricTemplates, for the target ``understudy``."""
    values = {"namespace": namespace, "target": "understudy", "interval": interval}
    values["variables.candidate"] = CANDIDATE
    for name, template in of_kind("flagger", "MetricTemplate").items():
        query = re.sub(r"{{ ([\w.]+) }}", lambda found: values[found[1]], template["query"])
        yield Asked(f"flagger {name}", query, *LIMITS[name.removeprefix("understudy-")])


def keda_query() -> str:
    (scaled,) = of_kind("keda", "ScaledObject").values()
    query = scaled["triggers"][0]["metadata"]["query"]
    assert isinstance(query, str)
    return query
