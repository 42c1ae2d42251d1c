"""The canary under a configuration file that changes while callers are served."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from load_tests.server import Server, running_server
from service.domain.canary import bucket
from tests.integration.conftest import await_shadow, eventually, settled_books

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

CONFIG = {
    "production": "credit:gbm-1",
    "candidates": ["credit:gbm-2"],
    "server": {"workers": 2},
    "rollout": {"candidate": None, "share_basis_points": 0, "salt": "s1"},
}


@pytest.fixture(scope="module")
def server(demo_home: Path) -> Iterator[Server]:
    with running_server(config=CONFIG, models=demo_home, env={"UNDERSTUDY_ADMIN_TOKEN": "secret"}) as started:
        await_shadow(started)
        yield started


def change(server: Server, text: str) -> None:
    """As a ConfigMap changes: another file under the same name, at once."""
    fresh = server.home / "settings.next"
    fresh.write_text(text)
    fresh.replace(server.home / "settings.yaml")


def rollout(**section: Any) -> str:
    return yaml.safe_dump({**CONFIG, "rollout": section})


def arm(server: Server, key: str, row: dict[str, Any]) -> str:
    body = {"instances": [row], "routing_key": key}
    return str(httpx.post(f"{server.url}/predict", json=body).json()["model"]["arm"])


def test_a_ramp_reaches_every_worker_in_two_seconds_and_loses_no_answer(
    server: Server, instances: list[dict[str, Any]]
) -> None:
    stop, codes = threading.Event(), Counter[int]()

    def traffic() -> None:
        for _ in range(20_000):
            if stop.is_set():
                return
            codes[httpx.post(f"{server.url}/predict", json={"instances": instances[:1]}).status_code] += 1

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        change(server, rollout(candidate="credit:gbm-2", share_basis_points=3000, salt="s1"))
        time.sleep(2.0)
        for number in range(60):
            key = f"customer-{number}"
            expected = "canary" if bucket("s1", key) < 3000 else "production"
            assert arm(server, key, instances[0]) == expected
        change(server, rollout(candidate="credit:gbm-2", share_basis_points=10_000, salt="s1"))
        time.sleep(2.0)
        assert {arm(server, f"customer-{number}", instances[0]) for number in range(20)} == {"canary"}
    finally:
        stop.set()
        thread.join()
    assert set(codes) == {200}
    page = httpx.get(f"{server.url}/metrics").text
    assert 'understudy_canary_share_ratio{candidate="credit:gbm-2"} 1.0' in page


def everywhere(server: Server, seconds: float, **wanted: Any) -> bool:
    """Whether ``/rollout`` shows ``wanted`` in thirty answers in a row, so in both workers."""

    def shown() -> bool:
        answers = [httpx.get(f"{server.url}/rollout").json() for _ in range(30)]
        return all(answer[key] == value for answer in answers for key, value in wanted.items())

    return eventually(shown, seconds)


def test_an_invalid_change_is_refused_by_name_and_the_split_stays(
    server: Server, instances: list[dict[str, Any]]
) -> None:
    change(server, rollout(candidate="credit:gbm-2", share_basis_points=10_000, salt="s1"))
    assert everywhere(server, 5, share_basis_points=10_000, refused=None)
    change(server, rollout(candidate="credit:gbm-2", share_basis_points=10_001, salt="s1"))

    def refusals() -> list[Any]:
        return [httpx.get(f"{server.url}/rollout").json()["refused"] for _ in range(30)]

    assert eventually(lambda: all(refusals()), 5)
    assert all("share_basis_points" in refused["reason"] for refused in refusals())
    assert "share_basis_points" in (server.home / "server.log").read_text()
    assert arm(server, "k", instances[0]) == "canary"
    change(server, rollout(candidate="credit:gbm-2", share_basis_points=0, salt="s1"))
    assert everywhere(server, 5, share_basis_points=0, refused=None)
    assert arm(server, "k", instances[0]) == "production"


def test_rows_that_the_canary_answered_are_compared_with_production_all_the_same(
    server: Server, instances: list[dict[str, Any]]
) -> None:
    change(server, rollout(candidate="credit:gbm-2", share_basis_points=10_000, salt="s1"))
    assert everywhere(server, 5, share_basis_points=10_000)
    before = settled_books(server)
    report = httpx.get(f"{server.url}/shadow/report").json()["candidates"][0]
    answered = httpx.post(f"{server.url}/predict", json={"instances": instances, "routing_key": "k"}).json()
    assert answered["model"]["arm"] == "canary"
    after = settled_books(server).since(before)
    assert after.outcomes["credit:gbm-2"]["compared"] == len(instances)
    grown = httpx.get(f"{server.url}/shadow/report").json()["candidates"][0]
    assert grown["flips"]["flipped"] > report["flips"]["flipped"]


def test_only_the_admin_chooses_an_arm(server: Server, instances: list[dict[str, Any]]) -> None:
    change(server, rollout(candidate="credit:gbm-2", share_basis_points=5000, salt="s1"))
    assert everywhere(server, 5, share_basis_points=5000)

    def ask(wanted: str, **headers: str) -> httpx.Response:
        return httpx.post(
            f"{server.url}/predict",
            json={"instances": instances[:1]},
            headers={"X-Model-Arm": wanted, **headers},
        )

    assert ask("canary").status_code == 401
    assert ask("canary", Authorization="Bearer wrong").status_code == 403
    for wanted in ("canary", "production"):
        answer = ask(wanted, Authorization="Bearer secret")
        assert answer.json()["model"]["arm"] == wanted
