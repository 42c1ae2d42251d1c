"""From a table of raw columns to canonical rows, labels and outputs.

Every refusal names its cell; rows are counted from 0, in a CSV file the first under the header.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import Feature, FeatureBatch, ModelSpec, Schema
from service.errors import BundleError

MISSING_WORDS = frozenset({"", "na", "nan", "null", "none"})
"""Cells that mean "no value", in any case, unless a feature has such a category."""

EXACT_INTEGERS = 2**53
"""Integers up to this size survive float64, in which int64 columns travel."""

Labels = NDArray[Any]
"""[rows]: intp indices into ``spec.classes``, or float64 values for regression."""


class Table(Protocol):
    """Columns by name: a dict of lists, or a pandas DataFrame."""

    def __contains__(self, name: Any, /) -> bool: ...

    def __getitem__(self, name: Any, /) -> Any: ...


def read_csv(path: Path) -> dict[str, list[str]]:
    """The columns of a CSV file with a header line, as text.

    Raises:
        BundleError: the file cannot be read, has no rows, repeats a column or has a ragged line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BundleError(f"{path}: cannot be read as CSV: {error}") from error
    if len(lines) < 2:
        raise BundleError(f"{path}: has no rows under a header line")
    header, *rows = lines
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise BundleError(f"{path}: row {number} has {len(row)} cells, the header has {len(header)}")
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise BundleError(f"{path}: column {twice!r} appears twice")
    return {name: list(cells) for name, cells in zip(header, zip(*rows, strict=True), strict=True)}


def column_names(schema: Schema) -> tuple[str, ...]:
    """The columns a table must have; an image's are ``pixel:0`` … in C order of its shape."""
    if schema.layout == "image":
        return tuple(f"pixel:{index}" for index in range(schema.width))
    return schema.names()


def canonical_rows(schema: Schema, table: Table) -> FeatureBatch:
    """Canonical rows [rows, schema.width] of ``schema.dtype`` from raw cells.

    Raises:
        BundleError: a column is absent or shorter than another, or a cell is missing where the
            schema refuses that, not a number, not an integer, or not a known category.
    """
    names = column_names(schema)
    features = schema.features or tuple(Feature(name, "float") for name in names)
    columns = [_encode(feature, _column(table, feature.name)) for feature in features]
    _check_lengths(names, columns)
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(np.stack(columns, axis=1), dtype=schema.dtype)
    if np.isinf(rows).any():
        row, column = np.argwhere(np.isinf(rows))[0]
        raise BundleError(f"row {row}, {names[column]}: {columns[column][row]:g} is too large for float32")
    return rows


def label_rows(spec: ModelSpec, cells: Iterable[Any]) -> Labels:
    """Labels of a target column; see ``Labels``.

    Raises:
        BundleError: a cell is empty, not a number (regression) or not a class; names the row.
    """
    if spec.task == "regression":
        return _encode(Feature("target", "float"), list(cells))
    index = {name: position for position, name in enumerate(spec.classes)}
    labels = []
    for row, cell in enumerate(cells):
        if str(cell) not in index:
            raise BundleError(f"row {row}: label {str(cell)!r} is not one of {list(spec.classes)}")
        labels.append(index[str(cell)])
    return np.array(labels, dtype=np.intp)


def output_names(spec: ModelSpec) -> tuple[str, ...]:
    """Columns that hold a model's outputs in a table: ``p:CLASS`` each, or ``value``."""
    return tuple(f"p:{name}" for name in spec.classes) or ("value",)


def output_rows(spec: ModelSpec, table: Table) -> NDArray[np.float64]:
    """Outputs [rows, spec.outputs] that a training framework computed, from ``output_names`` columns.

    Raises:
        BundleError: such a column is absent, or a cell is not a number.
    """
    names = output_names(spec)
    columns = [_encode(Feature(name, "float"), _column(table, name)) for name in names]
    _check_lengths(names, columns)
    return np.stack(columns, axis=1)


def _column(table: Table, name: str) -> Sequence[Any]:
    if name not in table:
        raise BundleError(f"column {name!r} is not in the data")
    return list(table[name])


def _check_lengths(names: Sequence[str], columns: Sequence[NDArray[np.float64]]) -> None:
    for name, column in zip(names, columns, strict=True):
        if len(column) != len(columns[0]):
            raise BundleError(f"column {name!r} has {len(column)} rows, {names[0]!r} has {len(columns[0])}")


def _encode(feature: Feature, cells: Sequence[Any]) -> NDArray[np.float64]:
    codes = {word: float(position) for position, word in enumerate(feature.categories)}
    encoded = np.empty(len(cells), dtype=np.float64)
    for row, cell in enumerate(cells):
        encoded[row] = _cell(feature, codes, cell, row)
    return encoded


def _cell(feature: Feature, codes: dict[str, float], cell: Any, row: int) -> float:
    where = f"row {row}, {feature.name}"
    if codes and str(cell) in codes:
        return codes[str(cell)]
    if _is_missing(cell):
        if feature.missing:
            return math.nan
        raise BundleError(f"{where}: the value is missing, and the manifest refuses that")
    if codes:
        raise BundleError(f"{where}: {str(cell)!r} is not one of its categories {list(codes)}")
    try:
        value = float(cell)
    except OverflowError:
        value = math.inf
    except (TypeError, ValueError):
        raise BundleError(f"{where}: {cell!r} is not a number") from None
    if math.isinf(value):
        raise BundleError(f"{where}: {cell!r} is not a finite number")
    if feature.type == "int64" and (value != int(value) or abs(value) > EXACT_INTEGERS):
        raise BundleError(f"{where}: {cell!r} is not an integer within ±2**53")
    return value


def _is_missing(cell: Any) -> bool:
    if cell is None:
        return True
    if isinstance(cell, str):
        return cell.strip().lower() in MISSING_WORDS
    try:
        return bool(cell != cell)  # NaN is the one value unlike itself
    except TypeError:
        return True  # pandas.NA refuses to say whether it equals itself
