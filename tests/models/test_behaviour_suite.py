"""``behaviour.yaml``: what is read, and mistakes told with the check and the key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from models.asking import on_cpu
from models.behaviour import run_suite
from models.behaviour_suite import LARGEST_FILE, Directional, Invariance, MinimumFunctionality, read_suite
from models.bundle import Bundle
from models.demo import registry
from service.errors import BundleError

SUITE = """
checks:
  - name: no matter who asks
    kind: invariance
    severity: warn
    on: {sample: 100, seed: 3, where: "Age < 25"}
    change:
      Home: {to: no}
      Job: {others: true}
    at_least: 0.9
  - {name: more is better, kind: directional, change: {Income: {times: 1.5}}, must_not: fall, within: 0.1}
  - name: known cases
    kind: minimum_functionality
    on: {instances: [{Age: 30, Home: yes, Income: null}]}
    expect: {probability: {good: [0.5, null]}}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "suite.yaml"
    path.write_text(text)
    return path


def test_a_suite_is_read_with_its_defaults(tmp_path: Path) -> None:
    first, second, third = read_suite(written(tmp_path, SUITE)).checks
    assert isinstance(first, Invariance)
    assert (first.severity, first.at_least, first.on.sample, first.on.seed) == ("warn", 0.9, 100, 3)
    assert first.change["Home"].to == ("no",)  # a word, not false
    assert first.change["Job"].way == "others"
    assert isinstance(second, Directional)
    assert (second.severity, second.at_least, second.on.sample) == ("error", 1.0, 500)
    assert isinstance(third, MinimumFunctionality)
    assert third.on.instances == ({"Age": 30, "Home": "yes", "Income": None},)
    assert third.expect.probability == {"good": (0.5, None)}


def test_the_demos_suites_are_read() -> None:
    found = {registry.suite(tag) for tag in registry.RECIPES} - {None}
    assert {path.name for path in found if path is not None} == {"credit_behaviour.yaml"}
    for path in found:
        assert path is not None
        assert {check.kind for check in read_suite(path).checks} == {
            "invariance",
            "directional",
            "minimum_functionality",
        }


MISTAKES = [
    ("severity: warn", "severity: fatal", "check 'no matter who asks': severity: Input should be 'error' or"),
    ("at_least: 0.9", "at_least: 90", "check 'no matter who asks': at_least: Input should be less than"),
    ("at_least: 0.9", "at_most: 0.9", "check 'no matter who asks': at_most: Extra inputs"),
    (
        "{to: no}",
        "{to: no, add: 1}",
        "check 'no matter who asks': change.Home: Value error, expected exactly one",
    ),
    ("{to: no}", "{}", "change.Home: Value error, expected exactly one of to, others, add"),
    ("{to: no}", "{to: true}", "check 'no matter who asks': change.Home.to.0"),
    ("{to: no}", "{to: []}", "check 'no matter who asks': change.Home.to: Tuple should have at least 1 item"),
    ("{others: true}", "{others: false}", "change.Job.others: Input should be True"),
    ("{others: true}", "{others: null}", "change.Job: Value error, expected exactly one of"),
    ("{others: true}", "{noise: -1}", "change.Job.noise: Input should be greater than 0"),
    (
        "{times: 1.5}",
        "{times: .nan}",
        "check 'more is better': change.Income.times: Input should be a finite",
    ),
    (
        "{times: 1.5}",
        "{times: .inf}",
        "check 'more is better': change.Income.times: Input should be a finite",
    ),
    ("sample: 100", "sample: 0", "check 'no matter who asks': on.sample: Input should be greater than 0"),
    ("sample: 100", "sample: 100000", "on.sample: Input should be less than or equal to 1000"),
    ("within: 0.1", "within: -1", "check 'more is better': within: Input should be greater than"),
    ("must_not: fall, ", "", "check 'more is better': must_not: Field required"),
    (
        "must_not: fall",
        "must_not: stay",
        "check 'more is better': must_not: Input should be 'rise' or 'fall'",
    ),
    ("instances: [", "sample: 5, instances: [", "on: Value error, instances are taken as they are"),
    (
        "[0.5, null]",
        "[0.5, 0.1]",
        "check 'known cases': expect.probability: Value error, expected two numbers",
    ),
    (
        "[0.5, null]",
        "[null, null]",
        "check 'known cases': expect.probability: Value error, expected two numbers",
    ),
    ("[0.5, null]", "[50, null]", "expect.probability: Value error, expected probabilities from 0 to 1"),
    ("    at_least: 0.9", "    on: {seed: 4}", "cannot be read as a behavioural suite: 'on' is there twice"),
    (
        "{good: [0.5, null]}",
        "{}",
        "check 'known cases': expect.probability: Dictionary should have at least 1",
    ),
    ("expect: {", "expect: {label: good, ", "check 'known cases': expect: Value error, expected exactly one"),
    ("kind: minimum_functionality", "kind: oracle", "check 'known cases': Input tag 'oracle' found"),
    ("name: known cases", "name: more is better", "checks: 'more is better' is there twice"),
    ("name: known cases", 'name: "\\e[2Jcases"', "check 2: name: Value error, expected printable"),
    ("name: known cases", "name: ''", "name: String should have at least 1 character"),
    ("    at_least: 0.9", "    same_label: false", "same_label: false asks nothing without within"),
    ("checks:", "tests:", "checks: Field required; tests: Extra inputs"),
]


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
def test_a_mistake_is_told_with_the_check_and_the_key(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert old in SUITE
    path = written(tmp_path, SUITE.replace(old, new, 1))
    with pytest.raises(BundleError) as caught:
        read_suite(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "checks: []",
        "checks: {a: 1}",
        "checks: [1, null, [2]]",
        "checks: [{name: {}}]",
        "checks: &a [*a]",
        "checks: [" + "[" * 3000,
        "checks: [2020-99-99]",
        "checks: !!python/object:os.system [ls]",
        "a: b: c",
        "\x00",
        "checks: [{name: a, kind: [], change: {}}]",
    ],
)
def test_what_is_no_suite_is_refused_in_words(text: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"suite\.yaml: "):
        read_suite(written(tmp_path, text))


def test_checks_that_are_mistaken_are_not_called_missing_as_well(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        read_suite(written(tmp_path, "checks: [{name: a, kind: invariance, change: {Age: {}}}]"))
    assert "at least 1 item" not in str(caught.value)
    with pytest.raises(BundleError, match="checks: Tuple should have at least 1 item"):
        read_suite(written(tmp_path, "checks: []"))


def test_a_suite_cannot_be_too_large_or_absent(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="larger than the"):
        read_suite(written(tmp_path, "#" * (LARGEST_FILE + 1)))
    with pytest.raises(BundleError, match="cannot be read as a behavioural suite"):
        read_suite(tmp_path / "absent.yaml")
    many = yaml.safe_dump(
        {
            "checks": [
                {"name": str(number), "kind": "minimum_functionality", "expect": {"label": "good"}}
                for number in range(201)
            ]
        }
    )
    with pytest.raises(BundleError, match="at most 200 items"):
        read_suite(written(tmp_path, many))


def test_the_example_of_the_readme_runs_as_printed(
    demo_bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    readme = (Path(__file__).parents[2] / "models" / "README.md").read_text()
    found = re.search(r"```yaml\n# behaviour\.yaml\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    bundle = demo_bundle("credit:gbm-1")
    outcomes = run_suite(read_suite(written(tmp_path, found.group(1))), bundle, on_cpu(bundle)).outcomes
    assert [outcome.check.kind for outcome in outcomes] == [
        "invariance",
        "directional",
        "minimum_functionality",
    ]
    assert outcomes[2].passed
