"""The comparison of explanations measures what it says, and fails where a claim does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from load_tests import explanations
from load_tests.explanations import Measured, Plan, Section
from load_tests.report import Finding

TINY = Plan(trees=(3,), backgrounds=(20, 1000), repetitions=1, rows=2, batch=10)


def measured(background: int, ours: float, shaps: float, difference: float = 0.0) -> Measured:
    return Measured(100, background, [ours], [shaps], 1.0, difference, 0.1, 1 << 20)


def verdicts(*found: Measured) -> list[str]:
    plan = Plan((100,), (100, 1000), 1, 1)
    return [finding.verdict for finding in explanations._claims(plan, found)]


def test_a_slow_a_growing_or_a_wrong_explanation_is_told() -> None:
    assert verdicts(measured(100, 1.0, 50.0), measured(1000, 1.0, 50.0)) == ["met", "met", "met"]
    assert verdicts(measured(100, 1.0, 50.0), measured(1000, 1.1, 50.0)) == ["not met", "met", "met"]
    assert verdicts(measured(100, 1.0, 99.0), measured(1000, 1.4, 99.0)) == ["met", "not met", "met"]
    assert verdicts(measured(100, 1.0, 50.0), measured(1000, 1.0, 50.0, 2e-5)) == ["met", "met", "not met"]


def test_trees_are_compared_with_shap_on_the_same_rows() -> None:
    section = explanations.trees(TINY)
    assert [line[1] for line in section.lines] == ["20", "1,000"]
    (difference,) = [finding for finding in section.findings if "difference" in finding.what]
    assert difference.verdict == "met"
    assert section.measured[0]["fold_seconds"] > 0


def test_the_outcome_is_written_and_decides_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def section(value: float) -> Section:
        return Section("Toy", ("a",), [Finding("speed", value, "x", 50)], [("1",)])

    monkeypatch.setattr(explanations, "SECTIONS", {"good": lambda plan: section(60)})
    assert explanations.main(["--results", str(tmp_path)]) == 0
    monkeypatch.setattr(explanations, "SECTIONS", {"bad": lambda plan: section(40)})
    assert explanations.main(["--results", str(tmp_path)]) == 1
    assert "## Toy" in capsys.readouterr().out
    (written,) = tmp_path.glob("*.json")
    document = json.loads(written.read_text(encoding="utf-8"))
    assert document["kind"] == "explanations"
    assert document["sections"][0]["findings"][0]["verdict"] == "not met"
