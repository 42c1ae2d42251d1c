"""Sides of the same settings meet, others never do, and what nobody needs any more goes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from service.settings import Environment, Settings
from service.wiring import shared
from service.wiring.shared import agreement, enter_shared_directory, shared_directory, take_turn
from tests.wiring.bundles import CPU

BASE: dict[str, Any] = {
    "production": "m:1",
    "candidates": ["m:2", "m:3"],
    "shadow": {"supervised": False},
}
ELSEWHERE = """
import json, sys
from service.settings import Settings
from service.wiring.shared import agreement
print(agreement(Settings.model_validate(json.loads(sys.argv[1]))))
"""


def settings(**changed: Any) -> Settings:
    return Settings.model_validate({**BASE, **changed})


def environment(home: Path) -> Environment:
    return Environment(home=home, providers=CPU)


@pytest.mark.parametrize(
    "changed",
    [
        {"production": "m:9"},
        {"candidates": ["m:3", "m:2"]},
        {"candidates": ["m:2"]},
        {"feedback": {"enabled": False}},
        {"drift": {"enabled": False}},
        {"evidence": {"enabled": False}},
    ],
    ids=str,
)
def test_sides_that_would_misread_each_other_never_meet(changed: Mapping[str, Any]) -> None:
    assert agreement(settings(**changed)) != agreement(settings())


@pytest.mark.parametrize(
    "changed",
    [
        {"server": {"workers": 4, "drain_seconds": 10}},
        {"limits": {"max_rows": 5}},
        {"shadow": {"supervised": False, "sample_rate": 0.5, "queue_rows": 9}},
        {"breaker": {"failures": 9}},
        {"rollout": {"candidate": "m:2", "share_basis_points": 10}},
        {"log": {"format": "json"}},
    ],
    ids=str,
)
def test_what_one_side_alone_follows_keeps_nobody_apart(changed: Mapping[str, Any]) -> None:
    assert agreement(settings(**changed)) == agreement(settings())


@pytest.mark.parametrize("name", ["MEETING", "__version__", "LAYOUT"])
def test_sides_of_different_versions_never_meet(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = agreement(settings())
    monkeypatch.setattr(shared, name, "another")
    assert agreement(settings()) != usual


@pytest.mark.process
def test_another_process_finds_the_same_place_whatever_order_keys_are_in() -> None:
    command = [sys.executable, "-c", ELSEWHERE]
    reordered = dict(reversed(BASE.items()))
    text = Settings.model_validate(reordered).model_dump_json(include=set(BASE))
    found = subprocess.run([*command, text], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == agreement(settings())


def test_places_of_other_settings_are_removed_once_nobody_is_in_them(tmp_path: Path) -> None:
    where = environment(tmp_path)
    one, other = settings(), settings(production="m:9")
    edge = enter_shared_directory(one, where)
    assert edge is not None
    (shared_directory(one, where) / "ledger.bin").write_bytes(b"counts")
    first = enter_shared_directory(other, where)
    assert (shared_directory(one, where) / "ledger.bin").exists(), "its edge still lives"
    edge.leave()
    second = enter_shared_directory(other, where)
    assert [each.name for each in (tmp_path / "shared").iterdir()] == [agreement(other)]
    for held in (first, second):
        assert held is not None
        held.leave()


def test_own_counts_outlive_everybody(tmp_path: Path) -> None:
    where = environment(tmp_path)
    path = shared_directory(settings(), where) / "ledger.bin"
    path.write_bytes(b"counts")
    held = enter_shared_directory(settings(), where)
    assert held is not None
    held.leave()
    assert path.read_bytes() == b"counts"


def test_where_bentoml_starts_both_there_is_no_place_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "emptied"))
    assert enter_shared_directory(settings(shadow={"supervised": True}), environment(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []


def test_what_a_shadow_left_half_written_goes_with_the_next_one(tmp_path: Path) -> None:
    where = environment(tmp_path)
    place = shared_directory(settings(), where)
    for name in ("verdicts.json.71", "shadow.sock.8", "verdicts.json", "ledger.bin", "counter_shadow.db"):
        (place / name).touch()
    turn = take_turn(settings(), where)
    assert turn is not None
    kept = {each.name for each in place.iterdir()}
    assert kept == {"verdicts.json", "ledger.bin", "counter_shadow.db", "turn.lock"}
    turn.leave()


def test_a_second_shadow_waits_for_the_first_and_then_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared, "TURN_SECONDS", 0.2)
    where = environment(tmp_path)
    first = take_turn(settings(), where)
    assert first is not None
    assert not caplog.text
    assert take_turn(settings(), where) is None
    assert "another shadow of this configuration is at work; waiting 0.2 s" in caplog.text
    elsewhere = take_turn(settings(production="m:9"), where)
    assert elsewhere is not None, "one of other settings is in nobody's way"
    first.leave()
    second = take_turn(settings(), where)
    assert second is not None
    for held in (elsewhere, second):
        held.leave()
