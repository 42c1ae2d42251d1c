"""Whatever is wrong with a rule, a scene tells.

All mutants of an alert are evaluated beside one another, each under a name of its own, so that a scene is played
once and not once for each of them; whoever was told from the rule needs no further scene.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from deploy.prometheus import alerts, recording
from deploy.prometheus.alarms.alarm import PREFIX
from deploy.prometheus.promql import Group
from tests.deploy import scenes_drift, scenes_service, scenes_shadow
from tests.deploy.mutants import Mutant, mutants, named
from tests.deploy.scenes import Scene, Trial, objections

pytestmark = pytest.mark.system("promtool")

RECORDED = re.compile(r"understudy:[\w:]+")
SCENES = {**scenes_drift.SCENES, **scenes_shadow.SCENES, **scenes_service.SCENES}
ENTRIES = [rule for group in alerts.groups() for rule in group["rules"]]
RULES = {rule["record"]: rule for group in recording.groups() for rule in group["rules"]}


EQUIVALENT = {}
"""Mutants that do what the rule does, with the reason."""


def needed(exprs: Iterable[str]) -> list[str]:
    """Recorded names that expressions read, and those that these read; in the order of the file."""
    found: set[str] = set()
    waiting = {name for expr in exprs for name in RECORDED.findall(expr)}
    while waiting:
        found |= waiting
        waiting = {name for each in waiting for name in RECORDED.findall(RULES[each]["expr"])} - found
    return [name for name in RULES if name in found]


def told_by(scene: Scene, wrong: Mapping[str, Mutant], folder: Path) -> frozenset[str]:
    """Names of the mutants whose alerts are not the rule's, or that cannot be evaluated."""
    alive, killed = dict(wrong), set[str]()
    while alive:
        entries = [{**mutant.entry, "alert": name} for name, mutant in alive.items()]
        names = needed(entry["expr"] for entry in entries)
        groups: list[Group] = [
            {"name": "recorded", "rules": [RULES[name] for name in names]},
            {"name": "wrong", "rules": entries},
        ]
        own = {
            name: {**mutant.entry["labels"], "alertname": mutant.entry["alert"]}
            for name, mutant in alive.items()
        }
        said = objections({"mutants": Trial(groups, [scene.test_of(own)])}, folder, processes=1)["mutants"]
        broken = set(re.findall(r"rule: (m\d+),", said))
        if not broken:
            return frozenset(killed | set(re.findall(r'alertname(?:=\\"|: )(m\d+)', said)))
        killed |= broken
        alive = {name: mutant for name, mutant in alive.items() if name not in broken}
    return frozenset(killed)


def survivors(about: Sequence[str], scenes: Iterable[Scene], folder: Path) -> list[Mutant]:
    """Mutants of these alerts that no scene tells from the rule."""
    entries = [entry for entry in ENTRIES if entry["alert"].removeprefix(PREFIX) in about]
    every = [mutant for entry in entries for mutant in mutants(entry)]
    alive = {f"m{place}": mutant for place, mutant in enumerate(every)}
    for scene in scenes:
        told = told_by(scene, alive, folder)
        alive = {name: mutant for name, mutant in alive.items() if name not in told}
    return list(alive.values())


@pytest.mark.parametrize("about", SCENES, ids=lambda about: about[0])
def test_a_wrong_alert_is_found(about: tuple[str, ...], tmp_path: Path) -> None:
    scenes = [scene for make in SCENES[about] for scene in make()]
    left = {(mutant.rule, mutant.change) for mutant in survivors(about, scenes, tmp_path)}
    allowed = {pair for pair in EQUIVALENT if pair[0].split()[0].removeprefix(PREFIX) in about}
    assert left == allowed


def test_a_rule_that_is_right_survives(tmp_path: Path) -> None:
    for about, makers in SCENES.items():
        entries = [entry for entry in ENTRIES if entry["alert"].removeprefix(PREFIX) in about]
        same = {f"m{place}": Mutant(named(entry), "none", entry) for place, entry in enumerate(entries)}
        scene = next(iter(makers[0]()))
        assert told_by(scene, same, tmp_path) == frozenset(), about
