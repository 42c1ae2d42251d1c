"""Dashboards show what there is, say what it is, and lead to what to do about it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.__main__ import BOARDS, FOLDER, main
from deploy.grafana.board import GRAFANA, RUNBOOKS
from deploy.prometheus.alerts import ALARMS
from deploy.prometheus.windows import DRIFT
from tests.conftest import locate
from tests.deploy.dashboards import (
    FILES,
    FOREIGN,
    asked,
    choices,
    filled,
    known,
    names,
    panels,
    read,
    variables,
)

ROOT = Path(__file__).parents[2]
BY_GRAFANA = {"__rate_interval"}
VALUES = {
    "candidate": "credit:gbm-2",
    "job": ".+",
    "model": "credit",
    "role": "production",
    "slice": ".+",
    "variable": ".+",
    "version": "gbm-1",
    "__rate_interval": "1m",
}
COLUMNS = 24

every_board = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def test_the_files_are_what_the_code_says() -> None:
    assert {path.stem for path in FILES} == {board.name for board in BOARDS}
    for board in BOARDS:
        assert (FOLDER / f"{board.name}.json").read_text("utf-8") == board.text()


def test_the_program_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.grafana.__main__.FOLDER", tmp_path)
    main()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        path.name: path.read_text() for path in FILES
    }


def test_links_to_dashboards_stay_good() -> None:
    assert {board.uid: board.title for board in BOARDS} == {
        "understudy-shadow": "Understudy: shadow",
        "understudy-drift": "Understudy: drift",
        "understudy-service": "Understudy: service",
        "understudy-canary": "Understudy: canary",
    }


@every_board
def test_a_board_says_what_it_is_for_and_begins_with_something_recent(path: Path) -> None:
    board = read(path)
    assert f"Grafana {GRAFANA}" in board["description"]
    assert re.fullmatch(r"now-[136]h", board["time"]["from"])
    assert board["refresh"]
    assert [link["tags"] for link in board["links"]] == [["understudy"]] == [board["tags"]]


@every_board
def test_every_panel_says_what_it_shows_in_which_unit(path: Path) -> None:
    board = read(path)
    for panel in panels(board):
        assert panel["title"], panel
        assert re.search(r"\w.+[.]$", panel["description"]), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["legendFormat"], panel["title"]
            assert target["datasource"]["uid"] == "${datasource}"
    assert len({panel["title"] for panel in panels(board)}) == len(panels(board))
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@every_board
def test_panels_fill_the_page_and_hide_none(path: Path) -> None:
    cells: list[tuple[int, int]] = []
    for panel in read(path)["panels"]:
        place = panel["gridPos"]
        if panel.get("repeat"):  # it fills its lines itself
            continue
        cells += [
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
    assert len(cells) == len(set(cells))
    rows = {y for _, y in cells}
    assert set(cells) == {(x, y) for x in range(COLUMNS) for y in rows}
    assert rows == set(range(max(rows) + 1))


@every_board
def test_every_variable_can_be_chosen_and_every_choice_is_used(path: Path) -> None:
    board = read(path)
    chosen = choices(board)
    queries = " ".join(query.expr for query in asked(board))
    dependent = " ".join(choice["query"] for choice in chosen.values())
    links = " ".join(link["url"] for panel in panels(board) for link in panel["links"])
    used = variables(queries) | variables(dependent) | variables(links)
    assert used - BY_GRAFANA | {"datasource"} == set(chosen)
    assert chosen["datasource"]["query"] == "prometheus"
    assert all(choice["label"] for choice in chosen.values())


@every_board
def test_a_choice_is_made_of_what_was_chosen_before_it(path: Path) -> None:
    before: set[str] = set()
    for name, choice in choices(read(path)).items():
        assert variables(choice["query"]) <= before, name
        before.add(name)


def test_windows_are_those_that_are_recorded() -> None:
    window = choices(read(FOLDER / "drift.json"))["window"]
    assert window["query"].split(",") == list(DRIFT)
    assert window["current"]["value"] == DRIFT[0]


def test_names_of_series_are_found_in_promql() -> None:
    expr = 'sum by (le) (rate(a_b{c="d e{"}[5m])) / on (f) group_left () (a:b:5m * 1.5 > bool 0) or vector(0)'
    assert names(expr) == {"a_b", "a:b:5m"}


@every_board
def test_queries_are_of_series_that_exist(path: Path) -> None:
    series = known() | FOREIGN
    for query in asked(read(path)):
        for window in DRIFT:
            found = names(filled(query.expr, {**VALUES, "window": window}))
            assert found, query
            assert found <= series, query


@every_board
def test_choices_are_of_series_that_exist(path: Path) -> None:
    for choice in choices(read(path)).values():
        if choice["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", choice["query"])
            assert found is not None
            assert names(filled(found[1], VALUES)) <= known()


@pytest.mark.system("promtool")
@every_board
def test_prometheus_can_read_every_query(path: Path, tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{place}", "expr": filled(query.expr, {**VALUES, "window": "1h"})}
        for place, query in enumerate(asked(read(path)))
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert objections(tmp_path / "rules.yml") == ""


@pytest.mark.system("promtool")
def test_a_query_that_prometheus_cannot_read_is_found(tmp_path: Path) -> None:
    rules = [{"record": "panel:0", "expr": "sum by (le (up)"}]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert "could not parse" in objections(tmp_path / "rules.yml")


def objections(rules: Path) -> str:
    """What promtool has to say against rules."""
    checked = subprocess.run(
        [str(locate("promtool")), "check", "rules", rules],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return "" if checked.returncode == 0 else checked.stdout + checked.stderr


def links(boards: Sequence[dict[str, Any]]) -> set[str]:
    return {link["url"] for board in boards for panel in panels(board) for link in panel["links"]}


def test_every_alert_has_a_panel_that_leads_to_its_runbook() -> None:
    wanted = {f"${{runbooks}}/{alarm.alert}.md" for alarm in ALARMS}
    assert links([read(path) for path in FILES]) == wanted
    for url in wanted:
        assert (ROOT / "deploy" / "runbooks" / Path(url).name).is_file()


def test_grafana_of_compose_is_of_the_release_and_serves_the_runbooks() -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose" / "docker-compose.yml").read_text("utf-8"))
    grafana = compose["services"]["grafana"]
    assert grafana["image"].startswith(f"grafana/grafana:{GRAFANA}.")
    assert f"../runbooks:/usr/share/grafana{RUNBOOKS}:ro" in grafana["volumes"]
