"""Rows to a verdict: what they are compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from load_tests import verdict_power as module
from load_tests.sections import Circumstances
from load_tests.shadow_worlds import level
from load_tests.verdict_power import PLANTS, RULES, Plant, binomial_power, fixed_n, measure, power, smallest


def test_the_power_of_the_binomial_test_is_that_of_its_critical_region() -> None:
    for share, n in ((0.01, 1_500), (0.05, 300)):
        found = binomial_power(np.array([n]), share, 0.02, 0.01)[0]
        hits = np.arange(n + 1)
        low = [k for k in hits if binom.cdf(k, n, 0.02) <= 0.005]
        high = [k for k in hits if binom.sf(k - 1, n, 0.02) <= 0.005]
        region = low if share < 0.02 else high
        assert found == pytest.approx(binom.pmf(region, n, share).sum())


def test_the_fixed_minimum_is_the_first_with_enough_power() -> None:
    plant = PLANTS[0]
    n = fixed_n(plant)
    rows = np.array([n - 1, n])
    before, there = binomial_power(rows, plant.flips, RULES.flip_rate, level(RULES))
    assert before < module.POWER <= there
    with pytest.raises(ValueError, match="no number"):
        smallest(lambda n: np.zeros(len(n)))


@pytest.mark.parametrize(
    "plant", [each for each in PLANTS if each.criterion == "accuracy"], ids=lambda plant: plant.what
)
def test_a_fixed_test_of_that_many_rows_finds_the_difference_as_often_as_it_says(plant: Plant) -> None:
    n, rng = fixed_n(plant), np.random.default_rng(6)
    won, lost = (plant.flips + plant.advantage) / 2, (plant.flips - plant.advantage) / 2
    counts = rng.multinomial(n, [won, lost, 1 - won - lost], 4_000)
    gained, given = counts[:, 0], counts[:, 1]
    sure = module.NormalDist().inv_cdf(1 - level(RULES) / 2)
    margin = 0.0 if plant.decision == "better" else -RULES.accuracy
    value, discordant = (gained - given) / n, (gained + given) / n
    spread = np.sqrt((discordant - (0 if margin == 0 else 1) * value**2) / n)
    found = np.abs(value - margin) / spread > sure
    assert found.mean() == pytest.approx(module.POWER, abs=0.03)


def test_a_planted_difference_is_noticed_in_not_much_more_than_the_fixed_minimum() -> None:
    found = measure(PLANTS[2], 40, 0)
    assert found.median <= found.eighty <= found.ninety
    assert 0.3 < found.median / found.fixed < module.MOST
    assert found.ninety < module.PATIENCE * found.fixed


def test_what_is_not_planted_is_not_found() -> None:
    nothing = Plant("nothing", "accuracy", "better", 0.05, 0.0)
    totals = module.simulate(module.shadows(0.05), 20, 100, 100, np.random.default_rng(8))
    assert not nothing.decided(totals).any()


def test_the_section_shows_every_planted_difference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "QUICK", 10)
    monkeypatch.setattr(module, "LOOKS", 50)
    section = power(Circumstances(True, tmp_path, (0, 0)))
    assert [line[0] for line in section.lines] == [plant.what for plant in PLANTS]
    assert all(finding.target == module.MOST for finding in section.findings)
