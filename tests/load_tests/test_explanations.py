"""The report on explanations runs what is asked for, and fails where a claim does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from load_tests import explanations
from load_tests.report import Finding
from load_tests.sections import Circumstances, Section


def section(value: float) -> Callable[[Circumstances], Section]:
    def make(circumstances: Circumstances) -> Section:
        how = "quick" if circumstances.quick else "full"
        return Section("Toy", ("a",), how, [Finding("speed", value, "x", 50)], [("1",)])

    return make


def test_the_outcome_is_written_and_decides_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(explanations, "SECTIONS", {"good": section(60)})
    assert explanations.main(["--results", str(tmp_path / "good"), "--quick"]) == 0
    monkeypatch.setattr(explanations, "SECTIONS", {"good": section(60), "bad": section(40)})
    assert explanations.main(["--results", str(tmp_path / "bad")]) == 1
    assert "## Toy\n\nquick\n" in capsys.readouterr().out
    (written,) = (tmp_path / "bad").glob("*.json")
    document = json.loads(written.read_text(encoding="utf-8"))
    assert document["kind"] == "explanations"
    assert document["sections"]["good"]["findings"][0]["verdict"] == "met"
    assert document["sections"]["bad"]["findings"][0]["verdict"] == "not met"


def test_one_section_can_be_made_alone_and_the_cores_are_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usable = os.sched_getaffinity(0)
    monkeypatch.setattr(explanations, "SECTIONS", {"good": section(60), "bad": section(40)})
    assert explanations.main(["--results", str(tmp_path), "--only", "good"]) == 0
    (written,) = tmp_path.glob("*.json")
    document = json.loads(written.read_text(encoding="utf-8"))
    assert list(document["sections"]) == ["good"]
    assert document["command"] == "python -m load_tests.explanations --only good"
    assert os.sched_getaffinity(0) == usable
