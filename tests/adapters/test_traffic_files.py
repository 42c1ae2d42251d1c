"""Exported traffic is read record by record, whatever its form, and what cannot be read is named."""

from __future__ import annotations

import csv
import datetime
import io
import json
import sys
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from service.adapters import traffic_files
from service.adapters.traffic_files import Form, Record, TrafficFile, form_of
from service.errors import TrafficError

ROWS: list[dict[str, Any]] = [
    {"age": 30, "home": "rent", "income": 1.5},
    {"age": 41, "home": 'Größe, "5"%\nhigh', "income": None},
]


def written(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, form: Form | None = None) -> list[Record]:
    return list(TrafficFile(path, form).records())


def refusal(path: Path, form: Form | None = None) -> str:
    with pytest.raises(TrafficError) as caught:
        read(path, form)
    assert str(path) in str(caught.value)
    return str(caught.value)


def as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_json_lines_come_as_they_were_written(tmp_path: Path) -> None:
    content = as_lines(ROWS[:1]) + "\n  \n" + as_lines(ROWS[1:])
    found = read(written(tmp_path, "traffic.jsonl", content))
    assert found == [Record(1, ROWS[0]), Record(4, ROWS[1])]


def test_json_lines_may_spell_a_missing_value_nan(tmp_path: Path) -> None:
    line = '{"age": NaN, "income": 1e400, "price": %s}' % ("9" * 30)
    (found,) = read(written(tmp_path, "traffic.ndjson", line))
    assert found.fields["age"] != found.fields["age"]
    assert (found.fields["income"], found.fields["price"]) == (float("inf"), int("9" * 30))


@pytest.mark.parametrize("wrong", [b"{", b"[1]", b'"a"', b"\xff{}", b'{"a": "\\ud800"}', b"[" * 100_000])
def test_a_line_that_is_no_json_object_is_named_and_the_others_are_read(tmp_path: Path, wrong: bytes) -> None:
    found = read(written(tmp_path, "traffic.jsonl", b'{"a":1}\n' + wrong + b'\n{"a":2}'))
    assert [record.fields for record in found] == [{"a": 1}, {}, {"a": 2}]
    assert [record.number for record in found if record.fault] == [2]


def test_csv_comes_as_text_by_column_name_with_the_last_line_of_each_row(tmp_path: Path) -> None:
    first, second = read(written(tmp_path, "traffic.csv", "\ufeff" + as_csv(ROWS) + "\n"))
    assert first == Record(2, {"age": "30", "home": "rent", "income": "1.5"}, text=True)
    assert second == Record(4, {"age": "41", "home": ROWS[1]["home"], "income": ""}, text=True)


def test_a_csv_row_with_too_many_or_too_few_cells_is_named(tmp_path: Path) -> None:
    found = read(written(tmp_path, "traffic.csv", "a,b\n1,2\n1\n1,2,3\n3,4\n"))
    assert [(record.number, record.fault is None) for record in found] == [
        (2, True), (3, False), (4, False), (5, True),
    ]  # fmt: skip
    assert found[1].fault == "has 1 cells, the header has 2"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no header line"),
        (b"a,b,a\n1,2,3\n", "column 'a' appears twice"),
        (b"a\n1\n\xff\n", "line 3"),
        (b'a\n1\n"x"y\n', "line 3"),
    ],
)
def test_csv_that_cannot_be_read_is_refused_with_the_line(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refusal(written(tmp_path, "traffic.csv", content))


def test_parquet_comes_with_its_values(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {
        "age": [30, None],
        "income": [1.5, float("nan")],
        "price": [Decimal("2.50"), None],
        "home": arrow.array(["rent", "own"]).dictionary_encode(),
        "pixels": [[0.5, float("nan")], []],
        "day": [datetime.date(2026, 1, 2), None],
        "is": [True, False],
    }
    path = tmp_path / "traffic.parquet"
    parquet.write_table(arrow.table(columns), path)
    file = TrafficFile(path)
    assert [record.fields for record in file.records()] == [
        {
            "age": 30, "income": 1.5, "price": 2.5, "home": "rent", "pixels": [0.5, None],
            "day": "2026-01-02", "is": True,
        },
        {
            "age": None, "income": None, "price": None, "home": "own", "pixels": [], "day": None, "is": False,
        },
    ]  # fmt: skip
    assert (file.done, file.total) == (2, 2)


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    assert "cannot be read as Parquet" in refusal(written(tmp_path, "traffic.parquet", b"PAR1 or not"))


def test_without_pyarrow_parquet_is_refused_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install pyarrow" in refusal(written(tmp_path, "traffic.parquet", b""))


def test_the_suffix_says_the_form_unless_it_is_named(tmp_path: Path) -> None:
    assert [form_of(Path(name)) for name in ("a.JSONL", "a.csv", "a.pq")] == ["jsonl", "csv", "parquet"]
    path = written(tmp_path, "traffic.txt", as_lines(ROWS))
    assert "--format jsonl|csv|parquet" in refusal(path)
    assert len(read(path, "jsonl")) == 2
    assert "No such file" in refusal(tmp_path / "absent.csv")


def test_a_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path, "jsonl")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_reading_takes_the_same_memory_whatever_the_length(tmp_path: Path, form: Form) -> None:
    def peak(rows: int) -> int:
        many = [ROWS[0]] * rows
        path = written(tmp_path, f"{rows}.{form}", as_lines(many) if form == "jsonl" else as_csv(many))
        file = TrafficFile(path)
        tracemalloc.start()
        count = sum(1 for _ in file.records())
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (count, file.done, file.total) == (rows, path.stat().st_size, path.stat().st_size)
        return most

    peak(10)
    assert peak(20_000) < peak(1_000) + 100_000


def test_an_endless_line_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic_files, "LONGEST_LINE", 1 << 20)
    content = b"a\n1\n" + b"x" * (2 << 20)
    assert "longer than 1 MiB" in refusal(written(tmp_path, "traffic.csv", content))
    assert "line 3" in refusal(written(tmp_path, "traffic.jsonl", content))
