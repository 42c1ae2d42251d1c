"""Whatever is wrong with a recording rule, a value that is recorded is wrong.

Of each mutant everything that reads it is evaluated anew beside the rest, under names of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from deploy.prometheus import recording
from deploy.prometheus.windows import DRIFT
from tests.deploy.mutants import Mutant, mutants
from tests.deploy.scenes import Trial, objections
from tests.deploy.worlds import World, drift_world
from tests.deploy.worlds_service import labels_world, service_world

pytestmark = pytest.mark.system("promtool")

Rule = Mapping[str, str]
RULES: Mapping[str, Rule] = {rule["record"]: rule for group in recording.groups() for rule in group["rules"]}
READ = re.compile(r"understudy:[\w:]+")
SAMPLED = 40
"""Mutants of the rules of a longer window, which are the first window's but for its name."""

EQUIVALENT: Mapping[tuple[str, str], str] = {}
"""Mutants that do what the rule does, with the reason."""


def needed(names: Iterable[str]) -> list[str]:
    """These and what they read, in the order of the file."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        found |= waiting
        waiting = {name for each in waiting for name in READ.findall(RULES[each]["expr"])} - found
    return [name for name in RULES if name in found]


def touched(names: Sequence[str], name: str) -> list[str]:
    """A rule and those after it that read it, or read what reads it."""
    found = [name]
    for each in names:
        if each not in found and set(READ.findall(RULES[each]["expr"])) & set(found):
            found.append(each)
    return found


def beside(names: Sequence[str], mutant: Mutant, mark: str) -> list[Rule]:
    """The mutant and what reads it, each name with the mark."""
    renamed = set(touched(names, mutant.rule))

    def mark_all(expr: str) -> str:
        return READ.sub(lambda found: found.group() + mark * (found.group() in renamed), expr)

    found = []
    for name in names:
        if name in renamed:
            expr = mutant.entry["expr"] if name == mutant.rule else RULES[name]["expr"]
            found.append({"record": name + mark, "expr": mark_all(expr)})
    return found


def survivors(world: World, every: Sequence[Mutant], folder: Path) -> list[Mutant]:
    """Those whose values are the rules', to the last series."""
    names = needed(world.expected)
    alive = {f":m{place}": mutant for place, mutant in enumerate(every)}
    while alive:
        rules = [RULES[name] for name in names]
        asked = []
        for mark, mutant in alive.items():
            rules += beside(names, mutant, mark)
            seen = [name for name in touched(names, mutant.rule) if name in world.expected]
            assert seen, f"nothing that reads {mutant.rule} is expected"
            asked += [(name, name + mark) for name in seen]
        groups = [{"name": "recorded", "rules": rules}]
        said = objections({"": Trial(groups, [world.test(asked)], f"{world.at}m")}, folder, 1)[""]
        broken = set(re.findall(r"rule: \S+(:m\d+),", said))
        told = broken or set(re.findall(r"(:m\d+)\b", said))
        alive = {mark: mutant for mark, mutant in alive.items() if mark not in told}
        if not broken:
            return list(alive.values())
    return []


def check(world: World, every: Sequence[Mutant], folder: Path) -> None:
    left = {(mutant.rule, mutant.change) for mutant in survivors(world, every, folder)}
    made = {(mutant.rule, mutant.change) for mutant in every}
    assert left == made & set(EQUIVALENT)


def wrong(world: World) -> list[Mutant]:
    return [mutant for name in needed(world.expected) for mutant in mutants(dict(RULES[name]))]


def test_everything_that_is_recorded_is_what_the_worlds_expect(tmp_path: Path) -> None:
    worlds = [drift_world(window) for window in DRIFT] + [service_world(), labels_world()]
    names = {name for world in worlds for name in needed(world.expected)}
    assert names == set(RULES)
    for world in worlds:
        rules = [RULES[name] for name in needed(world.expected)]
        test = world.test((name, name) for name in world.expected)
        trial = Trial([{"name": "recorded", "rules": rules}], [test], f"{world.at}m")
        assert objections({"": trial}, tmp_path)[""] == ""


def test_a_wrong_measure_of_drift_is_found(tmp_path: Path) -> None:
    world = drift_world("1h")
    check(world, wrong(world), tmp_path)


@pytest.mark.parametrize("window", DRIFT[1:])
def test_a_wrong_measure_over_a_longer_window_is_found(tmp_path: Path, window: str) -> None:
    """At least one mutant of each rule; all of them are the first window's as well."""
    world = drift_world(window)
    every = wrong(world)
    rules = {
        mutant.rule: mutant for mutant in every if mutant.change.startswith(("times", "swapped", "flipped"))
    }
    others = [each for each in every if each.rule not in rules]
    check(world, [*rules.values(), *{each.rule: each for each in others}.values()], tmp_path)


@pytest.mark.parametrize("world", [service_world, labels_world])
def test_a_wrong_rule_of_the_service_is_found(tmp_path: Path, world: object) -> None:
    assert callable(world)
    made = world()
    check(made, wrong(made), tmp_path)
