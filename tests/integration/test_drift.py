"""Rows by bin with real processes: what was asked is on the page, in ``/drift``, and outlives every death."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from load_tests.server import Server, running_server
from models.bundle import Bundle, open_bundle
from models.demo.credit import held_out
from service.adapters.bundles import binning_of
from service.domain.variables import answer_columns, variable_columns
from tests.integration.conftest import await_shadow, eventually, oracle

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

CONFIG: dict[str, Any] = {
    "production": "credit:gbm-1",
    "candidates": ["credit:linear-1"],
    "server": {"workers": 2},
    "shadow": {"idle_priority": False},  # else whoever else runs tests here decides when it gets its turn
    "explain": {"process": False},
    "evidence": {"enabled": False},
    "drift": {"looks_per_minute": 60_000},
}
ROLES = {"gbm-1": "production", "linear-1": "candidate"}
CASES = [instance for instance, _ in held_out()][:600]
Rows = dict[tuple[str, str, str], float]
"""By role, variable and bin."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drift") / "store.db"


def started(demo_home: Path, store: Path, **settings: Any) -> Any:
    environment = {"UNDERSTUDY_STORE_URL": f"sqlite:///{store}"}
    return running_server(config={**CONFIG, **settings}, models=demo_home, env=environment)


@pytest.fixture(scope="module")
def server(demo_home: Path, store: Path) -> Iterator[Server]:
    with started(demo_home, store) as found:
        await_shadow(found)
        yield found


def ask(server: Server, cases: list[dict[str, Any]]) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for start in range(0, len(cases), 7):
            answer = client.post("/predict", json={"instances": cases[start : start + 7]})
            assert answer.status_code == 200


def page(server: Server) -> dict[str, Any]:
    """Rows by bin, their reference, what became of rows, and what the two-sample test told."""
    found: dict[str, Any] = {"rows": {}, "reference": {}, "outcomes": {}, "told": {}, "up": {}}
    for family in text_string_to_metric_families(httpx.get(f"{server.url}/metrics", timeout=30).text):
        for sample in family.samples:
            labels, value = sample.labels, sample.value
            match sample.name:
                case "understudy_distribution_rows_total":
                    found["rows"][labels["role"], labels["variable"], labels["bin"]] = value
                case "understudy_reference_rows":
                    found["reference"][labels["version"], labels["variable"], labels["bin"]] = value
                case "understudy_distribution_outcomes_total":
                    found["outcomes"][labels["outcome"]] = value
                case "understudy_two_sample_rows_total":
                    found["told"][labels["correct"]] = value
                case "understudy_store_up":
                    found["up"][labels["writer"]] = value
    return found


def counted(demo_home: Path, version: str, cases: list[dict[str, Any]]) -> Rows:
    """The same rows by one count, with nothing of the processes in between; the domain is left out."""
    bundle = open_bundle(demo_home / "models" / "credit" / version)
    binning = binning_of(bundle)
    scores = oracle(bundle, cases).astype(np.float32)
    columns = {
        **dict(variable_columns(bundle.spec, canonical(bundle, cases))),
        **dict(answer_columns(bundle.spec, scores)),
    }
    counts = binning.split(binning.counts(columns))
    return {
        (ROLES[version], variable.name, name): float(rows)
        for variable, each in zip(binning.variables, counts, strict=True)
        for name, rows in zip(variable.names, each, strict=True)
        if variable.name != "domain"
    }


def canonical(bundle: Bundle, cases: list[dict[str, Any]]) -> np.ndarray:
    """Words as places in their vocabulary, what is missing as NaN."""
    features = bundle.spec.schema.features
    rows = [
        [
            np.nan if (value := case[each.name]) is None
            else each.categories.index(value) if each.categories
            else value
            for each in features
        ]
        for case in cases
    ]  # fmt: skip
    return np.array(rows, bundle.spec.schema.dtype)


def of_rows(found: Rows, role: str, variable: str) -> float:
    return sum(rows for (who, name, _), rows in found.items() if (who, name) == (role, variable))


def await_page(server: Server, fits: Callable[[dict[str, Any]], bool], seconds: float = 60) -> dict[str, Any]:
    """The first page that fits. Another worker may still show the one that it made a moment before."""
    found: dict[str, Any] = {}

    def fitting() -> bool:
        found.update(page(server))
        return fits(found)

    assert eventually(fitting, seconds), found["outcomes"]
    return found


def await_rows(server: Server, rows: int) -> dict[str, Any]:
    """The page once production and the candidate have counted so many rows."""

    def there(found: dict[str, Any]) -> bool:
        shown = found["rows"]
        return all(of_rows(shown, role, "score") == rows for role in ROLES.values()) and (
            of_rows(shown, "production", "domain") == found["outcomes"]["counted"] == rows
        )

    return await_page(server, there)


def check(found: Rows, wanted: Rows) -> None:
    assert {key: found[key] for key in wanted} == wanted
    assert {key for key in found if key[1] != "domain"} == wanted.keys()


def drift(server: Server) -> dict[str, Any]:
    found = httpx.get(f"{server.url}/drift", timeout=30).json()
    assert isinstance(found, dict)
    return found


def windows(server: Server, name: str) -> Rows:
    """The live rows of one window of ``/drift``."""
    return {
        (model["role"], variable["variable"], each["bin"]): each["live"]
        for model in drift(server)["models"]
        for variable in model["windows"][name]["variables"]
        for each in variable["bins"]
    }


def await_sums(server: Server, other: Server) -> None:
    """Returns once both say since the start what their pages add up to; fails with what differs.

    Both are asked anew each time: the closer look at a row comes after all else has been counted.
    """
    found: list[Rows] = []

    def agreed() -> bool:
        mine, theirs = page(server)["rows"], page(other)["rows"]
        sums = {key: rows + theirs[key] for key, rows in mine.items()}
        found[:] = [sums, windows(server, "start"), windows(other, "start")]
        return found[0] == found[1] == found[2]

    assert eventually(agreed, 60), {
        key: values for key in found[0] if len(set(values := [each.get(key) for each in found])) > 1
    }


def test_bins_are_there_before_any_row(server: Server, demo_home: Path) -> None:
    found = await_page(server, lambda found: bool(found["rows"]))
    assert set(found["rows"].values()) == {0.0}
    assert found["outcomes"] == dict.fromkeys(
        ("counted", "sampled_out", "queue_full", "too_large", "shadow_down", "failed"), 0.0
    )
    for version in ROLES:
        binning = binning_of(open_bundle(demo_home / "models" / "credit" / version))
        for variable in binning.variables:
            for name, rows in zip(variable.names, variable.reference, strict=True):
                assert found["reference"][version, variable.name, name] == rows


def test_the_page_is_one_count_of_the_rows_sent(server: Server, demo_home: Path) -> None:
    ask(server, CASES[:300])
    found = await_rows(server, 300)
    check(
        found["rows"],
        {**counted(demo_home, "gbm-1", CASES[:300]), **counted(demo_home, "linear-1", CASES[:300])},
    )
    assert found["outcomes"]["counted"] == 300
    assert sum(found["told"].values()) > 0
    assert found["up"]["drift"] == 1.0


def test_the_document_has_the_rows_of_the_page(server: Server) -> None:
    def shared() -> bool:
        return all(windows(server, name) == page(server)["rows"] for name in ("1h", "6h", "24h", "start"))

    assert eventually(shared, 60)
    assert (drift(server)["store"], drift(server)["reason"]) == ("ok", None)
    assert drift(server)["outcomes"] == page(server)["outcomes"]


def test_a_killed_shadow_takes_back_no_row(server: Server, demo_home: Path) -> None:
    (shadow,) = [
        child
        for child in psutil.Process(server.pid).children(recursive=True)
        if "service.shadow" in child.cmdline()
    ]
    before = page(server)["rows"]
    os.kill(shadow.pid, signal.SIGKILL)
    lost = 0

    def reborn() -> bool:
        nonlocal lost
        lost += 1
        ask(server, CASES[:1])
        found = page(server)
        assert all(found["rows"][key] >= rows for key, rows in before.items())
        return bool(of_rows(found["rows"], "production", "label") > 300)

    assert eventually(reborn, 90), "the shadow did not come back"

    def accounted(found: dict[str, Any]) -> bool:
        outcomes = found["outcomes"]
        every = sum(outcomes.values()) == outcomes["counted"] + outcomes["shadow_down"] == 300 + lost
        return bool(every and of_rows(found["rows"], "production", "label") == outcomes["counted"])

    after = await_page(server, accounted)
    again = int(after["outcomes"]["counted"]) - 300
    wanted = counted(demo_home, "gbm-1", CASES[:300] + CASES[:1] * again)
    assert {key: after["rows"][key] for key in wanted} == wanted


def test_a_restart_keeps_what_was_counted_since_the_start(
    server: Server, demo_home: Path, store: Path
) -> None:
    before = page(server)["rows"]
    with started(demo_home, store) as other:  # as a replica, and as the server would be after a restart
        await_shadow(other)
        ask(other, CASES[300:340])
        own = await_rows(other, 40)["rows"]
        await_sums(server, other)
        after = page(server)["rows"]
        assert {key: after[key] for key in before if key[1] != "domain"} == {
            key: rows for key, rows in before.items() if key[1] != "domain"
        }
        check(
            own,
            {**counted(demo_home, "gbm-1", CASES[300:340]), **counted(demo_home, "linear-1", CASES[300:340])},
        )


def test_rows_are_counted_where_nobody_else_wants_them(demo_home: Path, tmp_path: Path) -> None:
    with started(demo_home, tmp_path / "store.db", candidates=[], feedback={"enabled": False}) as alone:
        assert eventually(lambda: page(alone)["rows"], 60), "the shadow did not start"
        ask(alone, CASES[:50])
        wanted = counted(demo_home, "gbm-1", CASES[:50])

        def there(found: dict[str, Any]) -> bool:
            return {key: found["rows"].get(key) for key in wanted} == wanted

        assert await_page(alone, there)["outcomes"]["counted"] == 50


def test_nothing_is_counted_where_nobody_wants_it(demo_home: Path, tmp_path: Path) -> None:
    with started(demo_home, tmp_path / "store.db", drift={"enabled": False}) as silent:
        await_shadow(silent)
        found = page(silent)
        assert (found["rows"], found["outcomes"]) == ({}, {})
        assert drift(silent)["reason"]
