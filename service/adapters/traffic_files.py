"""Exported traffic, one record after the other: JSON lines, CSV and Parquet, in constant memory.

What the fields of a record mean is not known here; see ``service.http.traffic``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias, get_args

import orjson

from service.errors import TrafficError

Form: TypeAlias = Literal["jsonl", "csv", "parquet"]

SUFFIXES: Mapping[str, Form] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
LONGEST_LINE = 64 << 20
"""Bytes of one line."""
PARQUET_ROWS = 1024
"""Rows that are read at a time."""
NEEDS_PYARROW = "reading Parquet needs pyarrow: pip install pyarrow"


class Record(NamedTuple):
    """One line of JSON, or one row of a table."""

    number: int
    """Of its line, from 1; in Parquet of its row."""
    fields: dict[str, Any]
    """By name; empty where there is a fault."""
    text: bool = False
    """Whether every value is text, as in CSV, whatever it means."""
    fault: str | None = None
    """Why it cannot be read, where that concerns this record alone."""


class TrafficFile:
    """A file of traffic, read from its start to its end.

    Args:
        path: where it is.
        form: how it is written; None goes by the suffix.

    Raises:
        TrafficError: there is no such file, or its form is not known.
    """

    def __init__(self, path: Path, form: Form | None = None) -> None:
        self.path = path
        self.form = form or form_of(path)
        try:
            self.total = path.stat().st_size
        except OSError as error:
            raise TrafficError(f"{path}: cannot be read: {error.strerror}") from error
        """Bytes of the file; of Parquet rows, once reading has begun."""
        self.done = 0
        """How much of ``total`` has been read."""

    def records(self) -> Iterator[Record]:
        """Every record; empty lines are left out.

        Raises:
            TrafficError: nothing that follows can be read; names the file and the line.
        """
        read = {"jsonl": self._json_lines, "csv": self._csv, "parquet": self._parquet}[self.form]
        try:
            yield from read()
        except OSError as error:
            raise TrafficError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def _json_lines(self) -> Iterator[Record]:
        with self.path.open("rb") as file:
            for number, line in self._lines(file):
                if line.strip():
                    yield _record(number, line)

    def _lines(self, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise TrafficError(f"{self.path}, line {number}: is longer than {LONGEST_LINE >> 20} MiB")
            self.done += len(line)
            yield number, line

    def _text(self, file: BinaryIO) -> Iterator[str]:
        for number, line in self._lines(file):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise TrafficError(f"{self.path}, line {number}: is not UTF-8: {error}") from error

    def _csv(self) -> Iterator[Record]:
        with self.path.open("rb") as raw:
            reader = csv.reader(self._text(raw), strict=True)
            try:
                header = next((cells for cells in reader if cells), None)
                if header is None:
                    raise TrafficError(f"{self.path}: has no header line")
                twice = next((name for name in header if header.count(name) > 1), None)
                if twice is not None:
                    raise TrafficError(f"{self.path}: column {twice!r} appears twice")
                for cells in reader:
                    if len(cells) == len(header):
                        yield Record(reader.line_num, dict(zip(header, cells, strict=True)), text=True)
                    elif cells:
                        fault = f"has {len(cells)} cells, the header has {len(header)}"
                        yield Record(reader.line_num, {}, fault=fault)
            except csv.Error as error:
                place = f"{self.path}, line {reader.line_num}"
                raise TrafficError(f"{place}: cannot be read as CSV: {error}") from error

    def _parquet(self) -> Iterator[Record]:
        try:
            import pyarrow as arrow
            from pyarrow import parquet
        except ModuleNotFoundError as error:
            raise TrafficError(f"{self.path}: {NEEDS_PYARROW}") from error
        try:
            with parquet.ParquetFile(self.path) as file:
                self.total = file.metadata.num_rows
                for batch in file.iter_batches(PARQUET_ROWS):
                    for values in batch.to_pylist():
                        self.done += 1
                        yield Record(self.done, {name: _plain(value) for name, value in values.items()})
        except arrow.ArrowException as error:
            place = f", after row {self.done}" if self.done else ""
            raise TrafficError(f"{self.path}{place}: cannot be read as Parquet: {error}") from error


def form_of(path: Path) -> Form:
    """What the suffix says of a file; raises ``TrafficError`` where it says nothing."""
    form = SUFFIXES.get(path.suffix.lower())
    if form is None:
        known = ", ".join(SUFFIXES)
        forms = ", ".join(get_args(Form))
        raise TrafficError(f"{path}: the suffix is none of {known}; say --format {forms.replace(', ', '|')}")
    return form


def _record(number: int, line: bytes) -> Record:
    try:
        document = orjson.loads(line)
    except ValueError:  # it may spell a missing value NaN, which JSON proper does not know
        try:
            document = json.loads(line.decode())
            json.dumps(document, ensure_ascii=False).encode()  # half of a surrogate pair could not be told
        except (ValueError, RecursionError) as error:
            return Record(number, {}, fault=f"is not JSON: {error}")
    if not isinstance(document, dict):
        return Record(number, {}, fault="expected a JSON object")
    return Record(number, document)


def _plain(value: Any) -> Any:
    """A value of a table as JSON would have it."""
    if isinstance(value, float) and value != value:
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return str(value)
