"""Whatever is wrong with a recording rule, a value that is recorded is wrong.

Of each mutant everything that reads it is evaluated anew beside the rest, under names of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.prometheus.promql import Group
from deploy.prometheus.windows import DRIFT
from tests.deploy.mutants import Mutant, mutants
from tests.deploy.scenes import READ, RECORDED, Trial, needed, objections
from tests.deploy.worlds import World, drift_world
from tests.deploy.worlds_service import labels_world, service_world

pytestmark = pytest.mark.system("promtool")

Rule = Mapping[str, str]
MANY = 100
"""Mutants of one rule."""

EQUIVALENT = (
    (
        r"(shadow_flip|error|accuracy)_ratio|drift_unseen_share|canary_assigned",
        r"another function at .*( or «sum»|«rate»).*|twice as long at .*\* 0.*|without (route|correct) .*",
        "it stands in what is multiplied by nought, of which only the labels count",
    ),
    (r"error_ratio", r"without code =~ \"\.\*\" .*", "every request has a code"),
    (
        r"shadow_coverage|canary_srm_z|drift_missing_share",
        r"another function at .*«sum».*",
        "it is a sum of one",
    ),
    (r"predict_seconds", r"another function at .*«rate».*", "quantiles have no unit of time"),
    (r"predict_seconds", r"-1 at .*", "what is not a number is not above anything"),
    (r"conformal_coverage", r"-1 at .*", "what is recorded of the labels is above nought already"),
    (
        r"drift_reference_rows",
        r"another function at .*|without bin in (by|without) .*",
        "a sum, a largest and a sum of largest counts are above nought together",
    ),
    (
        r"drift_(live|reference)_share",
        r"-1 at .*|without and .*",
        "a bin that is empty on both sides is left out by the other side's share",
    ),
    (r"drift_step", r"without bin =~ .*", "a bin that is not ordered is left out by the other side"),
    (
        r"drift_cumulative",
        r"without and ignoring .*|without (bin|without|or) .*|another function .*",
        "up to the last ordered bin and beyond the difference is nought, and the first bin is a sum of one",
    ),
    (r"drift_(psi|chi_square)_z", r"1 at .*freedom.*", "where there is but one bin, its freedom is nought"),
    (
        r"drift_ks_p",
        r"times 2 at .*exp\(- «18».*|swapped at .*«\+» exp\(-18.*|times .* \^ «2» \) \) and .*",
        "the third term is below a millionth of the first two from 1 on",
    ),
    (r"drift_ks_p", r"times .* «0\.1» .*", "below 0.2 the probability is 1 to the ninth digit"),
)
"""Mutants that do what the rule does: pattern of the rule's name and of the change, and the reason."""


def touched(names: Sequence[str], name: str) -> list[str]:
    """A rule and those after it that read it, or read what reads it."""
    found = [name]
    for each in names:
        if each not in found and set(READ.findall(RECORDED[each]["expr"])) & set(found):
            found.append(each)
    return found


def beside(names: Sequence[str], mutant: Mutant, mark: str) -> list[Rule]:
    """The mutant and what reads it, each name with the mark."""
    renamed = set(touched(names, mutant.rule))

    def mark_all(expr: str) -> str:
        return READ.sub(lambda found: found.group() + mark * (found.group() in renamed), expr)

    found: list[Rule] = []
    for name in names:
        if name in renamed:
            expr = mutant.entry["expr"] if name == mutant.rule else RECORDED[name]["expr"]
            found.append({"record": name + mark, "expr": mark_all(expr)})
    return found


def survivors(world: World, every: Sequence[Mutant], folder: Path) -> list[Mutant]:
    """Those whose values are the rules', to the last series."""
    names = needed(world.expected)
    alive = {f":m{place}": mutant for place, mutant in enumerate(every)}
    while alive:
        rules: list[Rule] = [RECORDED[name] for name in names]
        asked = []
        for mark, mutant in alive.items():
            rules += beside(names, mutant, mark)
            seen = [name for name in touched(names, mutant.rule) if name in world.expected]
            assert seen, f"nothing that reads {mutant.rule} is expected"
            asked += [(name, name + mark) for name in seen]
        groups: list[Group] = [{"name": "recorded", "rules": rules}]
        said = objections({"": Trial(groups, [world.test(asked)], f"{world.at}m")}, folder, 1)[""]
        broken = set(re.findall(r"rule: \S+(:m\d+),", said))
        told = broken or set(re.findall(r"(:m\d+)\b", said))
        alive = {mark: mutant for mark, mutant in alive.items() if mark not in told}
        if not broken:
            return list(alive.values())
    return []


def reason(mutant: Mutant) -> str | None:
    """Why it is none."""
    for rule, change, why in EQUIVALENT:
        if re.search(rule, mutant.rule) and re.fullmatch(change, mutant.change):
            return why
    return None


def unexplained(world: World, every: Sequence[Mutant], folder: Path) -> list[str]:
    """Survivors that have no reason to be one; hardly any mutant may have one."""
    halves = [every[0::2], every[1::2]]
    folders = [folder / name for name in "ab"]
    for each in folders:
        each.mkdir()
    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(survivors, [world, world], halves, folders))
    left = [mutant for part in parts for mutant in part]
    assert len(left) < len(every) / 5
    return [f"{each.rule}: {each.change}" for each in left if reason(each) is None]


def wrong(world: World) -> list[Mutant]:
    """All mutants of the world's rules; of a rule that says the same twenty times, every sixth."""
    found: list[Mutant] = []
    for name in needed(world.expected):
        every = list(mutants(dict(RECORDED[name])))
        found += every if len(every) < MANY else every[::6]
    return found


def test_everything_that_is_recorded_is_what_the_worlds_expect(tmp_path: Path) -> None:
    worlds = [drift_world(window) for window in DRIFT] + [service_world(), labels_world()]
    names = {name for world in worlds for name in needed(world.expected)}
    assert names == set(RECORDED)
    for world in worlds:
        rules = [RECORDED[name] for name in needed(world.expected)]
        test = world.test((name, name) for name in world.expected)
        trial = Trial([{"name": "recorded", "rules": rules}], [test], f"{world.at}m")
        assert objections({"": trial}, tmp_path)[""] == ""


def test_a_wrong_measure_of_drift_is_found(tmp_path: Path) -> None:
    world = drift_world("1h")
    assert unexplained(world, wrong(world), tmp_path) == []


@pytest.mark.parametrize("window", DRIFT[1:])
def test_a_wrong_measure_over_a_longer_window_is_found(tmp_path: Path, window: str) -> None:
    """At least one mutant of each rule; all of them are the first window's as well."""
    world = drift_world(window)
    every = wrong(world)
    rules = {
        mutant.rule: mutant for mutant in every if mutant.change.startswith(("times", "swapped", "flipped"))
    }
    others = [each for each in every if each.rule not in rules]
    chosen = [*rules.values(), *{each.rule: each for each in others}.values()]
    assert unexplained(world, chosen, tmp_path) == []


@pytest.mark.parametrize("world", [service_world, labels_world])
def test_a_wrong_rule_of_the_service_is_found(tmp_path: Path, world: object) -> None:
    assert callable(world)
    made = world()
    assert unexplained(made, wrong(made), tmp_path) == []


def test_every_rule_is_mutated_and_every_excuse_is_needed() -> None:
    every = [
        mutant for world in (drift_world("1h"), service_world(), labels_world()) for mutant in wrong(world)
    ]
    assert len(every) > 700
    reasons = {reason(mutant) for mutant in every} - {None}
    assert reasons == {why for _, _, why in EQUIVALENT}
    names = {mutant.rule for window in DRIFT[1:] for mutant in wrong(drift_world(window))}
    assert names | {mutant.rule for mutant in every} == set(RECORDED)
