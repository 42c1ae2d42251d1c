"""Findings, tables and result files."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import Path

import pytest

from load_tests import machine, report
from load_tests.report import Finding


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(1.2, "met"), (1.0, "met"), (0.9, "below target"), (0.8, "below target"), (0.79, "not met")],
)
def test_a_ratio_between_floor_and_target_is_told_apart_from_one_below_the_floor(
    value: float, verdict: str
) -> None:
    assert Finding("ours / bare", value, "x", 1.0, floor=0.8).verdict == verdict


def test_a_ceiling_is_met_from_below() -> None:
    assert Finding("p99", 1.1, "x", 1.1, at_most=True).verdict == "met"
    assert Finding("p99", 1.11, "x", 1.1, at_most=True).verdict == "not met"


def test_a_value_that_is_not_a_number_meets_nothing() -> None:
    for at_most in (False, True):
        assert Finding("p99", float("nan"), "x", 1.1, at_most=at_most).verdict == "not met"


def test_a_figure_without_a_target_has_no_verdict() -> None:
    assert Finding("memory", 120, "MiB").verdict == ""


def test_a_table_lines_up_and_says_target_and_verdict() -> None:
    findings = [Finding("a", 1.5, "x", 1.0), Finding("a longer name", 9, "s", 8, at_most=True)]
    lines = report.findings_table(findings).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2].split("|")[1:-1] == [" a             ", " 1.5 x    ", " ≥ 1    ", " met     "]
    assert "not met" in lines[3]


def test_refuses_a_ragged_table() -> None:
    with pytest.raises(ValueError, match="one cell per column"):
        report.table(("a", "b"), [("1",)])


def test_writes_a_result_with_its_readable_twin(tmp_path: Path) -> None:
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    findings = report.as_records([Finding("a", 1.5, "x", 1.0)])
    path = report.write("bench", {"findings": findings}, "# Hello", tmp_path, at)
    assert path.name == "bench-2026-01-02T0304Z.md"
    assert path.read_text(encoding="utf-8") == "# Hello\n"
    document = json.loads((tmp_path / "bench-2026-01-02T0304Z.json").read_text(encoding="utf-8"))
    assert document["findings"][0]["verdict"] == "met"


def test_a_record_leaves_out_what_json_cannot_say() -> None:
    assert "floor" in report.record(Finding("a", 1.23456, "x"))
    assert report.record(Finding("a", 1.23456789e-7, "x"))["value"] == 1.23457e-7
    assert "value" not in report.record(Finding("a", float("inf"), "x"))


def test_a_machine_is_described_without_its_name_or_paths() -> None:
    text = json.dumps(machine.describe().as_dict())
    assert platform.node() not in text
    assert str(Path.cwd()) not in text
    assert machine.describe().cores >= 1


def test_a_busy_core_is_seen_to_be_busy() -> None:
    before = machine.core_busy_seconds(0)
    assert before > 0
    assert machine.core_busy_seconds(0) >= before
