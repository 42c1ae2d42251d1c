"""What the shadow finds out reaches whoever shows it, whole and without needless writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.adapters.findings import FindingsReader, FindingsWriter, evidence_path, verdicts_path

CASES = {"worst": [{"request_id": "a"}]}


def document(state: str, second: int, cases: Any = CASES, older: int | None = None) -> dict[str, Any]:
    shown = second if older is None else older
    return {
        "verdict": {"state": state, "as_of": f"12:00:{second:02}"},
        "evidence": {"as_of": f"12:00:{shown:02}", "cases": cases},
    }


def test_what_was_written_is_read(tmp_path: Path) -> None:
    documents = {"m:1": document("hold", 0), "m:2": {"verdict": {"state": "hold"}, "evidence": None}}
    FindingsWriter(tmp_path).write(documents)
    assert FindingsReader(tmp_path).read() == documents


def test_there_is_nothing_before_anything_was_written(tmp_path: Path) -> None:
    assert FindingsReader(tmp_path).read() == {}


def test_at_rest_the_large_file_stays_and_its_time_moves_on_all_the_same(tmp_path: Path) -> None:
    writer, reader = FindingsWriter(tmp_path), FindingsReader(tmp_path)
    writer.write({"m:1": document("hold", 0)})
    before = evidence_path(tmp_path).stat()
    reader.read()
    writer.write({"m:1": document("hold", 9)})
    assert evidence_path(tmp_path).stat().st_ino == before.st_ino
    assert reader.read() == {"m:1": document("hold", 9)}


def test_a_newer_verdict_stands_beside_older_evidence(tmp_path: Path) -> None:
    writer = FindingsWriter(tmp_path)
    writer.write({"m:1": document("hold", 0)})
    writer.write({"m:1": document("promote", 3, older=0)})
    assert FindingsReader(tmp_path).read() == {"m:1": document("promote", 3, older=0)}


def test_new_evidence_is_seen_by_who_has_read_the_old(tmp_path: Path) -> None:
    writer, reader = FindingsWriter(tmp_path), FindingsReader(tmp_path)
    writer.write({"m:1": document("hold", 0)})
    reader.read()
    for second in range(1, 5):
        newer = {"m:1": document("hold", second, cases={"worst": [{"request_id": f"b{second}"}]})}
        writer.write(newer)
        assert reader.read() == newer


def test_a_candidate_that_comes_or_goes_is_news(tmp_path: Path) -> None:
    writer, reader = FindingsWriter(tmp_path), FindingsReader(tmp_path)
    for documents in (
        {"m:1": document("hold", 0)},
        {"m:1": document("hold", 0), "m:2": document("hold", 0)},
        {"m:2": document("hold", 0)},
        {"m:2": {"verdict": {"state": "hold"}, "evidence": None}},
    ):
        writer.write(documents)
        assert reader.read() == documents


def test_rows_are_for_the_service_alone(tmp_path: Path) -> None:
    FindingsWriter(tmp_path).write({"m:1": document("hold", 0)})
    for path in (verdicts_path(tmp_path), evidence_path(tmp_path)):
        assert path.stat().st_mode & 0o077 == 0
