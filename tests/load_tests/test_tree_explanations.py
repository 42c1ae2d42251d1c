"""The comparison with shap's trees measures what it says, and fails where a claim does."""

from __future__ import annotations

from load_tests import tree_explanations
from load_tests.tree_explanations import Measured, Plan, compare

TINY = Plan(trees=(3,), backgrounds=(20, 1000), repetitions=1, rows=2, batch=10)


def measured(background: int, ours: float, shaps: float, difference: float = 0.0) -> Measured:
    return Measured(100, background, [ours], [shaps], 1.0, difference, 0.1, 1 << 20)


def verdicts(*found: Measured) -> list[str]:
    plan = Plan((100,), (100, 1000), 1, 1)
    return [finding.verdict for finding in tree_explanations._claims(plan, found)]


def test_a_slow_a_growing_or_a_wrong_explanation_is_told() -> None:
    assert verdicts(measured(100, 1.0, 50.0), measured(1000, 1.0, 50.0)) == ["met", "met", "met"]
    assert verdicts(measured(100, 1.0, 50.0), measured(1000, 1.1, 50.0)) == ["not met", "met", "met"]
    assert verdicts(measured(100, 1.0, 99.0), measured(1000, 1.4, 99.0)) == ["met", "not met", "met"]
    assert verdicts(measured(100, 1.0, 50.0), measured(1000, 1.0, 50.0, 2e-5)) == ["met", "met", "not met"]


def test_trees_are_compared_with_shap_on_the_same_rows() -> None:
    section = compare(TINY)
    assert [line[1] for line in section.lines] == ["20", "1,000"]
    (difference,) = [finding for finding in section.findings if "difference" in finding.what]
    assert difference.verdict == "met"
    assert section.measured[0]["fold_seconds"] > 0
