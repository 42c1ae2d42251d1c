"""Whatever is wrong with a rule, a scene tells.

All mutants of the rules that a scene touches are evaluated beside one another, each under a name of its own, so
that a scene is played once and not once for each of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy.prometheus import alerts, recording
from deploy.prometheus.promql import Group
from tests.deploy import scenes_drift, scenes_service, scenes_shadow
from tests.deploy.mutants import Mutant, mutants
from tests.deploy.scenes import Scene, Trial, objections

pytestmark = pytest.mark.system("promtool")

RECORDED = re.compile(r"understudy:[\w:]+")
EXPORTED = re.compile(r"\b(?:understudy_\w+|up)\b")
RULES = {rule["record"]: rule for group in recording.groups() for rule in group["rules"]}


def needed(exprs: Iterable[str]) -> list[str]:
    """Recorded names that expressions read, and those that these read; in the order of the file."""
    found: set[str] = set()
    waiting = {name for expr in exprs for name in RECORDED.findall(expr)}
    while waiting:
        found |= waiting
        waiting = {name for each in waiting for name in RECORDED.findall(RULES[each]["expr"])} - found
    return [name for name in RULES if name in found]


def exported(expr: str) -> frozenset[str]:
    """Families of the service that an expression rests on."""
    exprs = [expr, *(RULES[name]["expr"] for name in needed([expr]))]
    return frozenset(name for each in exprs for name in EXPORTED.findall(each))


def families(scene: Scene) -> frozenset[str]:
    return frozenset(series["series"].partition("{")[0] for series in scene.series)


def played(
    scene: Scene, wrong: Mapping[str, Mutant], known: frozenset[str], folder: Path
) -> frozenset[str]:
    """Names of the mutants that a scene tells from the rule: by what fires, or since they cannot be evaluated."""
    alive, killed = dict(wrong), set[str]()
    while alive:
        entries = [{**mutant.entry, "alert": name} for name, mutant in alive.items()]
        names = needed(entry["expr"] for entry in entries)
        groups: list[Group] = [
            {"name": "recorded", "rules": [RULES[name] for name in names]},
            {"name": "wrong", "rules": entries},
        ]
        test = scene.test(known)
        test["promql_expr_test"] = [
            asked for name, mutant in alive.items() for asked in scene.asked(mutant.entry["alert"], mutant.entry["labels"], name)
        ]
        test["alert_rule_test"] = []
        said = objections({"mutants": Trial(groups, [test])}, folder)["mutants"]
        failed = set(re.findall(r"rule: (m\d+),", said))
        if not failed:
            return frozenset(killed | set(re.findall(r'alertname=\\"(m\d+)\\"', said)))
        killed |= failed
        alive = {name: mutant for name, mutant in alive.items() if name not in failed}
    return frozenset(killed)
