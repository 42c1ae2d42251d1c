"""Alerts fire when they should, tell what they should, and stay quiet at the near misses."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from deploy.prometheus import alerts, budgets
from deploy.prometheus.alarms.alarm import PREFIX, RUNBOOKS
from deploy.prometheus.files import text
from service.domain.drift import alerting
from service.http.openapi import OPERATIONS
from service.settings import Settings
from tests.conftest import locate
from tests.deploy import scenes_drift, scenes_service, scenes_shadow
from tests.deploy.scenes import RECORDED, Scene, Trial, held, objections, shipped

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "prometheus" / "alerts.yml"
SCENES = {**scenes_drift.SCENES, **scenes_shadow.SCENES, **scenes_service.SCENES}
ENTRIES = [entry for group in alerts.groups() for entry in group["rules"]]
NAMES = sorted({entry["alert"] for entry in ENTRIES})


def played(makers: Iterable[object]) -> list[Scene]:
    return [scene for make in makers if callable(make) for scene in make()]


def test_the_file_is_what_the_code_says() -> None:
    assert FILE.read_text() == text(alerts.groups())


@pytest.mark.system("promtool")
def test_prometheus_takes_the_rules() -> None:
    checked = subprocess.run(
        [str(locate("promtool")), "check", "rules", "--lint=all", "--lint-fatal", FILE],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.system("promtool")
@pytest.mark.parametrize("about", SCENES, ids=lambda about: about[0])
def test_exactly_the_expected_alerts_fire(about: tuple[str, ...], tmp_path: Path) -> None:
    scenes = played(SCENES[about])
    trial = Trial(shipped(), [scene.test() for scene in scenes])
    assert objections({about[0]: trial}, tmp_path) == {about[0]: ""}


@pytest.mark.system("promtool")
def test_a_scene_with_another_outcome_is_found(tmp_path: Path) -> None:
    silent = Scene("a shop").has("up", {}, held((1, 30)))
    trials = {
        "right": Trial(shipped(), [silent.quiet(20).test()]),
        "wrong": Trial(shipped(), [silent.fires(20, {"alertname": "Down", "job": "shop"}).test()]),
    }
    said = objections(trials, tmp_path)
    assert said["right"] == ""
    assert "UnderstudyDown" in said["wrong"]


def test_every_alert_of_every_severity_has_a_scene_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    for about, makers in SCENES.items():
        scenes = played(makers)
        for name in about:
            rules = [entry for entry in ENTRIES if entry["alert"] == PREFIX + name]
            assert rules, name
            for rule in rules:
                own = {"alertname": rule["alert"], **rule["labels"]}.items()
                fires = [
                    any(own <= labels.items() for check in scene.checks for labels in check.firing)
                    for scene in scenes
                ]
                assert any(fires), rule["alert"]
                told = [own <= told.labels.items() for scene in scenes for told in scene.told]
                assert any(told), rule["alert"]
                assert not all(fires), rule["alert"]
    assert sorted(PREFIX + name for about in SCENES for name in about) == NAMES


def test_every_alert_says_what_it_is_about() -> None:
    for entry in ENTRIES:
        assert entry["alert"].startswith(PREFIX)
        assert entry["labels"]["severity"] in ("ticket", "page")
        assert set(entry["annotations"]) == {"summary", "description", "runbook_url"}
        assert all(entry["annotations"].values())
        assert entry["annotations"]["runbook_url"].endswith(f"/{entry['alert']}.md")
        assert entry["annotations"]["description"].endswith(".")
        assert entry["for"] != "0m"


def test_every_rule_has_a_name_of_its_own_beside_its_labels() -> None:
    told = [(entry["alert"], *sorted(entry["labels"].items())) for entry in ENTRIES]
    assert len(set(told)) == len(told)


@pytest.mark.system("promtool")
def test_an_external_label_says_where_runbooks_are(tmp_path: Path) -> None:
    scene = next(iter(scenes_service.store()))
    (test,) = [scene.test()]
    test["external_labels"] = {"runbooks": "https://runbooks.example/understudy"}
    test["promql_expr_test"] = []
    (told,) = test["alert_rule_test"]
    (alert,) = told["exp_alerts"]
    here = "https://runbooks.example/understudy/UnderstudyStoreFailing.md"
    alert["exp_annotations"]["runbook_url"] = here
    assert objections({"": Trial(shipped(), [test])}, tmp_path) == {"": ""}


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    books = {path.stem: path.read_text() for path in (ROOT / RUNBOOKS).glob("*.md")}
    assert sorted(books) == NAMES
    for name, book in books.items():
        assert book.startswith(f"# {name}\n"), name
        for heading in ("What it means", "Look first", "What to do", "When it is a false alarm", "Silence"):
            assert f"\n## {heading}\n" in book, (name, heading)
        assert f"alertname={name}" in book, name


def test_runbooks_speak_of_series_and_routes_that_there_are() -> None:
    families = set(re.findall(r"understudy_\w+", (ROOT / "deploy" / "METRICS.md").read_text()))
    families |= {f"{name}_{end}" for name in families for end in ("count", "bucket", "sum")}
    recorded = set(RECORDED)
    for path in (ROOT / RUNBOOKS).glob("*.md"):
        book = path.read_text()
        assert set(re.findall(r"understudy:[\w:]+", book)) <= recorded, path.name
        assert set(re.findall(r"understudy_\w+", book)) <= families, path.name
        for other in re.findall(r"\((Understudy\w+)\.md\)", book):
            assert other in NAMES, (path.name, other)


def test_runbooks_speak_of_settings_and_routes_that_there_are() -> None:
    sections = Settings(production="credit:gbm-1").model_dump()
    routes = {path for path, _ in OPERATIONS}
    for path in (ROOT / RUNBOOKS).glob("*.md"):
        book = path.read_text()
        for section, key in re.findall(r"`(\w+)\.(\w+)`", book):
            assert key in sections[section], (path.name, section, key)
        for route in re.findall(r"`(?:GET )?(/[\w/.]+)`", book):
            assert route in routes | {"/rules", "/targets"}, (path.name, route)


@pytest.mark.system("promtool")
def test_prometheus_reads_every_query_of_the_runbooks(tmp_path: Path) -> None:
    books = [path.read_text() for path in (ROOT / RUNBOOKS).glob("*.md")]
    spans = {" ".join(span.split()) for book in books for span in re.findall(r"`([^`]+)`", book)}
    queries = sorted(span for span in spans if re.search(r"understudy[_:]", span))
    assert len(queries) > 30
    rules = [{"record": f"query:{place}", "expr": query} for place, query in enumerate(queries)]
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    checked = subprocess.run(
        [str(locate("promtool")), "check", "rules", path], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_no_alert_complains_of_a_candidate_that_the_verdict_would_promote() -> None:
    assert budgets.CREEPING.rate * budgets.FLIPPED > budgets.VERDICT.flip_rate


def test_alerts_know_the_bounds_of_drift_from_the_domain() -> None:
    (ticket,) = (entry for entry in ENTRIES if entry["alert"] == "UnderstudyDriftTicket")
    (page,) = (entry for entry in ENTRIES if entry["alert"] == "UnderstudyDriftPage")
    numbers = re.compile(r"(?:>|>=) ([\d.]+)")
    both = [alerting.SURE, alerting.LEAST_ROWS]
    for entry, excess in ((ticket, alerting.EXCESS), (page, alerting.PAGE_EXCESS)):
        found = [float(number) for number in numbers.findall(entry["expr"])]
        assert found == [excess, *both, excess, alerting.SURE]
    (slow,) = (entry for entry in ENTRIES if entry["alert"] == "UnderstudyDriftSlow")
    assert [float(number) for number in numbers.findall(slow["expr"])] == [alerting.SLOW_EXCESS, *both]


def test_whoever_is_told_of_a_drift_is_not_told_that_it_is_slow() -> None:
    path = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
    rules = yaml.safe_load(path.read_text("utf-8"))["inhibit_rules"]
    (rule,) = (each for each in rules if 'alertname="UnderstudyDriftSlow"' in each["target_matchers"])
    pattern = rule["source_matchers"][0].removeprefix("alertname=~").strip('"')
    drifts = {name for name in NAMES if name.startswith("UnderstudyDrift")}
    assert {name for name in drifts if re.fullmatch(pattern, name)} == {
        "UnderstudyDriftTicket",
        "UnderstudyDriftPage",
    }
    assert set(rule["equal"]) == {"model", "version", "variable"}


def test_the_readme_names_every_budget() -> None:
    readme = (FILE.parent / "README.md").read_text()
    constants = [name for name in vars(budgets) if name.isupper() and name != "VERDICT"]
    assert [name for name in constants if f"`{name}`" not in readme] == []
    for rule in RECORDED:
        name = re.sub(r":(increase)?(5m|30m|1h|6h|24h)$", "", rule)
        assert name in readme, rule
