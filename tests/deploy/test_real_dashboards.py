"""Every panel shows something: a real Prometheus watches a real service with a canary and labels."""

from __future__ import annotations

import contextlib
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.grafana.__main__ import BOARDS
from deploy.grafana.board import Board
from deploy.prometheus import alerts, recording
from deploy.prometheus.windows import DRIFT
from load_tests.prometheus import Labels, Prometheus, installed, prometheus, shortened
from load_tests.server import ROOT, Server, running_server
from models.demo.credit import held_out
from tests.deploy.dashboards import FILES, asked, choices, filled, read

pytestmark = [pytest.mark.system("prometheus"), pytest.mark.process, pytest.mark.timeout(240)]

SHORT = {
    "5m": "6s", "15m": "6s", "10m": "6s", "30m": "8s", "1h": "8s", "6h": "12s", "24h": "16s", "1d": "16s",
}  # fmt: skip
CANDIDATE = "credit:gbm-2"
CONFIG = {
    "production": "credit:gbm-1",
    "candidates": [CANDIDATE],
    "rollout": {"candidate": CANDIDATE, "share_basis_points": 3000, "salt": "s1"},
    "shadow": {"idle_priority": False, "explain_rate": 1.0},  # two cores for all of it
    "explain": {"process": False},
    "feedback": {"write_ms": 30_000},  # the first label has SQLAlchemy imported
    "drift": {"looks_per_minute": 60_000},
}
CHOSEN = {
    "candidate": CANDIDATE,
    "job": "understudy",
    "model": "credit",
    "role": "production",
    "slice": ".+",
    "variable": ".+",
    "version": "gbm-1",
    "__rate_interval": "6s",
}
PATIENCE = 90.0
RATE = 150
"""Rows a second."""
Answers = Mapping[str, dict[Labels, float]]
"""By what was asked."""


@pytest.fixture(scope="module")
def answers(demo_home: Path) -> Iterator[Answers]:
    """What Prometheus says to every query at one moment, under traffic and once all of it was there."""
    program = installed()
    assert program is not None
    rules = shortened([*recording.groups(), *alerts.groups()], SHORT, "1s")
    with running_server(config=CONFIG, models=demo_home) as server:
        target = "{}:{}".format(*server.address)
        with prometheus(program, [target], rules) as watching, traffic(server):
            yield await_answers(watching, server)


@contextlib.contextmanager
def traffic(server: Server) -> Iterator[None]:
    """The demo's applications, with routing keys, labels and a few that do not fit, until the block ends."""
    command = [sys.executable, "-m", "load_tests.traffic", "--url", server.url, "--rate", str(RATE)]
    rows = ["--rows", str(int(RATE * 4 * PATIENCE))]
    sender = subprocess.Popen([*command, *rows], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        sender.terminate()
        sender.wait(timeout=30)


def await_answers(watching: Prometheus, server: Server) -> Answers:
    body, end = {"instances": [held_out()[0][0]]}, time.monotonic() + PATIENCE
    found: dict[str, dict[Labels, float]] = {}
    while time.monotonic() < end:
        httpx.post(f"{server.url}/explain", json=body, timeout=30).raise_for_status()
        found = {query: watching.instant(query) for query in queries()}
        if all(found.values()) and all(max(found[query].values()) > 0 for query in HAPPENED):
            break
    return found


def queries() -> set[str]:
    """What all panels ask for in each window, and what choices are made of."""
    boards = [read(path) for path in FILES]
    shown = {short(query.expr, window) for board in boards for query in asked(board) for window in DRIFT}
    return shown | {offered(choice) for board in boards for choice in choices(board).values()} - {""}


def offered(choice: Mapping[str, Any]) -> str:
    """A query of what can be chosen; "" where that does not come from Prometheus."""
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", choice["query"])
    return f"count by ({found[2]}) ({filled(found[1], CHOSEN)})" if found else ""


def short(expr: str, window: str) -> str:
    """The query as Grafana sends it, over shortened windows."""
    sent = filled(expr, {**CHOSEN, "window": window})
    return re.sub(r"\[(\d+[mhd])\]", lambda found: f"[{SHORT[found[1]]}]", sent)


HAPPENED = {
    short(query.expr, DRIFT[0])
    for path in FILES
    for query in asked(read(path))
    for title in (
        "Explanations: seconds by method",
        "Feedback by outcome, by hour",
        "Input violations by feature and kind, by hour",
        "Labels by arm, by day",
        "Requests of the canary, last hour",
        "Share observed, last hour",
        "Which labels changed, last hour",
    )
    if query.panel.endswith(title)
}
"""Queries that say 0 where nothing happened; here it did."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_panel_shows_something(answers: Answers, path: Path) -> None:
    empty = [
        f"{query.panel} ({window}): {query.expr}"
        for query in asked(read(path))
        for window in DRIFT
        if not answers[short(query.expr, window)]
    ]
    assert not empty, "\n".join(empty)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_whatever_the_test_chose_is_offered(answers: Answers, path: Path) -> None:
    for name, choice in choices(read(path)).items():
        if query := offered(choice):
            values = {dict(labels)[name] for labels in answers[query]}
            assert CHOSEN[name] in values or (values and CHOSEN[name] == ".+"), name


def test_what_happened_is_not_shown_as_nought(answers: Answers) -> None:
    assert HAPPENED
    assert not [query for query in HAPPENED if not max(answers[query].values(), default=0.0) > 0]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_legends_and_columns_are_of_labels_that_are_there(answers: Answers, board: Board) -> None:
    for panel in board.panels():
        for query in panel.queries:
            for labels in answers[short(query.expr, DRIFT[0])]:
                there = {name for name, _ in labels}
                assert set(re.findall(r"{{(\w+)}}", query.legend)) <= there, panel.title
                assert not panel.by or there == {panel.by}, panel.title


def test_every_value_is_a_number(answers: Answers) -> None:
    assert not [query for query, found in answers.items() if not all(map(math.isfinite, found.values()))]
