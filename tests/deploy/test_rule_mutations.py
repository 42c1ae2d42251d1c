"""Whatever is wrong with a rule, a scene tells.

All mutants of an alert are evaluated beside one another, each under a name of its own, so that a scene is
played once and not once for each of them; whoever was told from the rule needs no further scene.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from deploy.prometheus import alerts
from deploy.prometheus.alarms.alarm import PREFIX
from deploy.prometheus.promql import Group
from tests.deploy import scenes_drift, scenes_service, scenes_shadow
from tests.deploy.mutants import Mutant, mutants, named
from tests.deploy.scenes import RECORDED, Scene, Trial, needed, objections

pytestmark = pytest.mark.system("promtool")

SCENES = {**scenes_drift.SCENES, **scenes_shadow.SCENES, **scenes_service.SCENES}
ENTRIES = [rule for group in alerts.groups() for rule in group["rules"]]


EQUIVALENT = (
    (
        "UnseenValues ticket missing",
        r"another function at .*_share:\dh .*«sum».*",
        "one bin is for missing values",
    ),
    ("VerdictRollback page", r"another function at .* and «max».*", "shares are above nought together"),
    ("VerdictChanged", r"another function at .* and «max».*", "states are nought together"),
    ("ModelNotReady page", r"another function at .*«max».*", "replicas are unready together"),
    (
        "Down page",
        r"another function at .*",
        "each replica is 1, and some are up where the sum is above nought",
    ),
    ("Down", r"twice as long at .*«\[1d\]».*", "no scene is longer than a day"),
)
"""Mutants that do what the rule does: pattern of the rule's name and of the change, and the reason."""


def told_by(scene: Scene, wrong: Mapping[str, Mutant], folder: Path) -> frozenset[str]:
    """Names of the mutants whose alerts are not the rule's, or that cannot be evaluated."""
    alive, killed = dict(wrong), set[str]()
    while alive:
        entries = [{**mutant.entry, "alert": name} for name, mutant in alive.items()]
        names = needed(entry["expr"] for entry in entries)
        groups: list[Group] = [
            {"name": "recorded", "rules": [RECORDED[name] for name in names]},
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


def reason(mutant: Mutant) -> str | None:
    """Why it is none."""
    for rule, change, why in EQUIVALENT:
        if re.search(rule, mutant.rule) and re.fullmatch(change, mutant.change):
            return why
    return None


@pytest.mark.parametrize("about", SCENES, ids=lambda about: about[0])
def test_a_wrong_alert_is_found(about: tuple[str, ...], tmp_path: Path) -> None:
    scenes = [scene for make in SCENES[about] for scene in make()]
    left = survivors(about, scenes, tmp_path)
    assert [f"{mutant.rule}: {mutant.change}" for mutant in left if reason(mutant) is None] == []


def test_a_rule_that_is_right_survives(tmp_path: Path) -> None:
    for about, makers in SCENES.items():
        entries = [entry for entry in ENTRIES if entry["alert"].removeprefix(PREFIX) in about]
        same = {f"m{place}": Mutant(named(entry), "none", entry) for place, entry in enumerate(entries)}
        scene = next(iter(makers[0]()))
        assert told_by(scene, same, tmp_path) == frozenset(), about


def test_hardly_any_mutant_is_excused() -> None:
    every = [mutant for entry in ENTRIES for mutant in mutants(entry)]
    reasons = [reason(mutant) for mutant in every]
    assert {why for why in reasons if why is not None} == {why for _, _, why in EQUIVALENT}
    assert len(every) > 500
    assert sum(why is not None for why in reasons) < 0.03 * len(every)
