"""How false alarms are counted, and that both sides of the comparison can raise them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from load_tests import false_alarms as module
from load_tests.false_alarms import RULES, WORLDS, Case, advantage, beyond, false_alarms, findings, measure
from load_tests.sections import Circumstances
from load_tests.shadow_worlds import shadows, simulate

GOOD = Case("any", 100, 0.01, 0.0, 0.01, 1.0, 0.05, 0.4, 0.05, 0.5, 0.2)


def test_every_world_is_as_good_as_production_and_none_is_beyond_a_margin() -> None:
    for kinds in WORLDS.values():
        compared = sum(kind.share for kind in kinds if not kind.failed)
        failed = 1 - compared
        assert sum(kind.share * kind.right for kind in kinds) == pytest.approx(0, abs=1e-12)
        assert sum(kind.share * kind.loss for kind in kinds) == pytest.approx(0, abs=1e-12)
        assert sum(kind.share for kind in kinds if kind.right) / compared <= RULES.flip_rate + 1e-9
        assert sum(kind.share * kind.gap for kind in kinds) / compared <= RULES.gap + 1e-9
        assert failed <= RULES.failure_rate + 1e-9


def test_fixed_n_tests_raise_false_alarms_where_the_verdict_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKS", 300)
    found = measure("1 % flips", WORLDS["1 % flips"], 60, 0)
    assert found.alarm <= 0.05
    assert found.mcnemar > 0.2
    assert found.mcnemar_once < 0.2
    assert found.z > found.z_divided > 0
    assert found.promoted > 0.9


def test_the_verdict_can_raise_alarms_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKS", 100)
    better = measure("better", shadows(0.1, advantage=0.05), 20, 0)
    assert better.alarm == better.better == 1
    worse = measure("worse", shadows(0.1, advantage=-0.05), 20, 0)
    assert worse.alarm == worse.rollback == 1


def test_a_fixed_n_test_looked_at_once_keeps_its_level() -> None:
    totals = simulate(WORLDS["4.9 % flips"], 1_000, 1, 100_000, np.random.default_rng(5))
    assert np.mean(np.abs(advantage(totals)) > module.z(0.05)) == pytest.approx(0.05, abs=0.03)
    assert np.mean(beyond(RULES, totals, 0.05)) < 0.2
    assert np.mean(beyond(RULES, totals, 1e-6)) < 0.01


def test_more_alarms_than_alpha_are_a_promise_that_was_not_kept() -> None:
    good, bad = findings([GOOD, replace(GOOD, alarm=0.051)])
    assert (good.verdict, bad.verdict) == ("met", "not met")


def test_the_section_shows_every_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "LOOKS", 30)
    monkeypatch.setattr(module, "QUICK", 4)
    section = false_alarms(Circumstances(True, tmp_path, (0, 0)))
    assert [line[0] for line in section.lines] == list(WORLDS)
    assert not section.missed
    assert "| candidate " in section.readable()
