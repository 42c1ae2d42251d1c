"""Simulated shadows: totals as of real rows, and the verdict over arrays as the service's own."""

from __future__ import annotations

import numpy as np
import pytest

from load_tests.shadow_worlds import Totals, chunks, level, says, shadows, simulate
from service.domain.disagreement.measure import Sums
from service.domain.evidence.facts import Rules
from service.domain.evidence.verdict import Verdict, verdict
from tests.domain.evidence.judged import CLASSES, agreement, facts, labelled


def sums_at(totals: Totals, at: tuple[int, int]) -> tuple[Sums, Sums]:
    """Columns of the compared and of the labelled rows at one look."""
    found = facts()
    rows = float(totals.compared[at])
    compared, judged = agreement(CLASSES, rows, float(totals.flips[at])), labelled(CLASSES, rows)
    for sheet, sums, columns in (
        (found.agreement, compared, {"gap/capped": totals.gap, "gap/deviation": totals.gap_deviation}),
        (
            found.judgement,
            judged,
            {
                "accuracy/candidate_only": totals.gained,
                "accuracy/production_only": totals.lost,
                "loss/difference": totals.loss,
                "loss/deviation": totals.loss_deviation,
            },
        ),
    ):
        for name, values in columns.items():
            sums[sheet.place(name)] = values[at]
    return compared, judged


def told(rules: Rules, totals: Totals, at: tuple[int, int]) -> Verdict:
    compared, judged = sums_at(totals, at)
    return verdict(rules, facts(compared, judged, outcomes={"candidate_error": int(totals.failed[at])}))


@pytest.mark.parametrize(
    ("flips", "gap", "failures", "advantage"),
    [
        (0.001, 0.0264, 0.001, 0.0),
        (0.049, 0.049, 0.009, 0.0),
        (0.1, 0.03, 0.0, 0.05),
        (0.1, 0.03, 0.0, -0.04),
        (0.2, 0.1, 0.0, 0.0),
        (0.01, 0.02, 0.05, 0.0),
    ],
)
def test_the_simulated_verdict_is_the_services_verdict(
    flips: float, gap: float, failures: float, advantage: float
) -> None:
    rules = Rules(least_rows=300)
    totals = simulate(shadows(flips, gap, failures, advantage), 3, 40, 100, np.random.default_rng(1))
    said = says(rules, totals)
    for at in np.ndindex(3, 40):
        own = told(rules, totals, (at[0], at[1]))
        assert {each.alpha for each in own.criteria} == {level(rules)}
        assert (own.state == "rollback") == said.rollback[at]
        assert (own.state == "promote") == said.promote[at]
        assert (own.because == "better") == said.better[at]


def test_states_of_all_kinds_are_met() -> None:
    rng = np.random.default_rng(2)
    better = says(Rules(), simulate(shadows(0.1, 0.03, 0.0, 0.05), 5, 50, 100, rng))
    worse = says(Rules(), simulate(shadows(0.1, 0.03, 0.0, -0.05), 5, 50, 100, rng))
    same = says(Rules(), simulate(shadows(0.005), 5, 100, 100, rng))
    assert better.better[:, -1].all()
    assert not better.rollback.any()
    assert worse.rollback[:, -1].all()
    assert not worse.promote.any()
    assert same.promote[:, -1].all()
    assert not same.alarm.any()
    for said in (better, worse, same):
        assert not (said.promote & said.rollback).any()
        assert not said.promote[:, :9].any(), "before the least rows"


def test_totals_are_those_of_rows_that_were_seen_one_batch_after_another() -> None:
    kinds, batch = shadows(0.2, 0.1, 0.1), 50
    totals = simulate(kinds, 1, 30, batch, np.random.default_rng(3))
    counts = np.random.default_rng(3).multinomial(batch, [kind.share for kind in kinds], (1, 30))[0]
    gap = deviation = rows = 0.0
    for look, batch_of in enumerate(counts):
        seen = [kind for kind, count in zip(kinds, batch_of, strict=True) for _ in range(count)]
        compared = [kind for kind in seen if not kind.failed]
        guess = gap / rows if rows else 0.0
        deviation += sum((kind.gap - guess) ** 2 for kind in compared)
        gap += sum(kind.gap for kind in compared)
        rows += len(compared)
        assert totals.gap_deviation[0, look] == pytest.approx(deviation)
        assert totals.gap[0, look] == pytest.approx(gap)
        assert totals.compared[0, look] == rows
        assert totals.failed[0, look] == (look + 1) * batch - rows


def test_worlds_have_the_shares_that_they_are_named_for() -> None:
    kinds = shadows(0.04, gap=0.03, failures=0.01, advantage=0.02)
    assert sum(kind.share for kind in kinds) == pytest.approx(1)
    totals = simulate(kinds, 20, 100, 1_000, np.random.default_rng(4))
    n = totals.compared[:, -1].sum()
    assert totals.flips[:, -1].sum() / n == pytest.approx(0.04, rel=0.01)
    assert (totals.gained - totals.lost)[:, -1].sum() / n == pytest.approx(0.02, rel=0.02)
    assert totals.gap[:, -1].sum() / n == pytest.approx(0.03, rel=0.01)
    assert totals.failed[:, -1].sum() / (20 * 100_000) == pytest.approx(0.01, rel=0.02)
    with pytest.raises(ValueError, match="no such shares"):
        shadows(0.5, gap=0.01)


def test_chunks_are_all_simulations() -> None:
    assert list(chunks(120)) == [50, 50, 20]
    assert list(chunks(3)) == [3]
