"""From raw cells to canonical rows: what fits is encoded exactly, what does not is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.canonical import canonical_rows, column_names, label_rows, output_rows, read_csv
from service.domain.schema import Schema
from service.errors import BundleError
from tests.models.graphs import tiny

TENSOR = tiny("tensor").manifest.spec
COLUMNS = tiny("columns").manifest.spec
NAN = float("nan")


def _table(**changes: Any) -> dict[str, Any]:
    return {"age": [30, 41], "home": ["rent", "owner"], "income": [1.5, 2.0], **changes}


def test_words_become_codes_in_the_order_of_the_categories() -> None:
    rows = canonical_rows(TENSOR.schema, _table(home=["parents", "owner"]))
    np.testing.assert_array_equal(rows, np.array([[30, 2, 1.5], [41, 0, 2]], np.float32))
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous


def test_column_layout_keeps_float64_so_that_large_integers_survive() -> None:
    rows = canonical_rows(COLUMNS.schema, _table(age=[2**53, -(2**53)]))
    assert rows.dtype == np.float64
    assert rows[:, 0].astype(np.int64).tolist() == [2**53, -(2**53)]


@pytest.mark.parametrize("cell", [None, NAN, "", " ", "NA", "nan", "null", "None", pd.NA, np.float32("nan")])
def test_every_spelling_of_missing_becomes_nan_where_allowed(cell: Any) -> None:
    rows = canonical_rows(TENSOR.schema, _table(home=[cell, "rent"], income=[1.0, cell]))
    np.testing.assert_array_equal(np.isnan(rows), [[False, True, False], [False, False, True]])


@pytest.mark.parametrize("cell", [None, NAN, ""])
def test_refuses_a_missing_value_where_the_manifest_does(cell: Any) -> None:
    with pytest.raises(BundleError, match="row 1, age: the value is missing, and the manifest refuses that"):
        canonical_rows(TENSOR.schema, _table(age=[30, cell]))


def test_refuses_an_unknown_category_and_names_it_with_the_known_ones() -> None:
    with pytest.raises(BundleError, match=r"row 1, home: 'castle' is not one of its categories \['owner'"):
        canonical_rows(TENSOR.schema, _table(home=["rent", "castle"]))


@pytest.mark.parametrize("cell", ["many", object(), [1]])
def test_refuses_what_is_not_a_number(cell: Any) -> None:
    with pytest.raises(BundleError, match=r"row 0, income: .* is not a number"):
        canonical_rows(TENSOR.schema, _table(income=[cell, 1]))


@pytest.mark.parametrize("cell", [float("inf"), "-inf", pytest.param(10**400, id="huge")])
def test_refuses_numbers_that_are_not_finite(cell: Any) -> None:
    with pytest.raises(BundleError, match=r"row 0, income: .* is not a finite number"):
        canonical_rows(TENSOR.schema, _table(income=[cell, 1]))


def test_refuses_a_number_that_float32_cannot_hold() -> None:
    with pytest.raises(BundleError, match="row 1, income: 1e\\+39 is too large for float32"):
        canonical_rows(TENSOR.schema, _table(income=[1, 1e39]))
    assert canonical_rows(COLUMNS.schema, _table(age=[1, 2]))[0, 0] == 1


@pytest.mark.parametrize("cell", [1.5, "2.25", 2**53 + 2])
def test_refuses_what_is_not_an_exact_integer(cell: Any) -> None:
    with pytest.raises(BundleError, match=r"row 1, age: .* is not an integer"):
        canonical_rows(COLUMNS.schema, _table(age=[1, cell]))


def test_refuses_an_absent_column_and_columns_of_different_length() -> None:
    with pytest.raises(BundleError, match="column 'home' is not in the data"):
        canonical_rows(TENSOR.schema, {"age": [1], "income": [1]})
    with pytest.raises(BundleError, match="column 'income' has 1 rows, 'age' has 2"):
        canonical_rows(TENSOR.schema, _table(income=[1]))


def test_a_data_frame_and_a_csv_file_give_the_same_rows(tmp_path: Path) -> None:
    frame = pd.DataFrame(_table(home=["rent", None], income=[NAN, 0.1]))
    frame.to_csv(tmp_path / "rows.csv", index=False)
    from_frame = canonical_rows(TENSOR.schema, frame)
    np.testing.assert_array_equal(from_frame, canonical_rows(TENSOR.schema, read_csv(tmp_path / "rows.csv")))


def test_image_tables_have_one_column_per_pixel_in_c_order() -> None:
    schema = Schema((), "image", (1, 2, 2))
    assert column_names(schema) == ("pixel:0", "pixel:1", "pixel:2", "pixel:3")
    rows = canonical_rows(schema, {f"pixel:{index}": [index / 4] for index in range(4)})
    np.testing.assert_array_equal(rows, np.array([[0, 0.25, 0.5, 0.75]], np.float32))


def test_labels_become_class_indices_or_values() -> None:
    assert label_rows(TENSOR, ["good", "bad"]).tolist() == [1, 0]
    assert label_rows(tiny("regression").manifest.spec, ["1.5", 2]).tolist() == [1.5, 2.0]


def test_refuses_an_unknown_or_missing_label_and_names_the_row() -> None:
    with pytest.raises(BundleError, match=r"row 1: label 'fair' is not one of \['bad', 'good'\]"):
        label_rows(TENSOR, ["good", "fair"])
    with pytest.raises(BundleError, match="row 0, target: the value is missing"):
        label_rows(tiny("regression").manifest.spec, [""])


def test_outputs_come_from_one_column_each_in_class_order() -> None:
    outputs = output_rows(TENSOR, {"p:good": ["0.75"], "p:bad": ["0.25"]})
    np.testing.assert_array_equal(outputs, [[0.25, 0.75]])
    with pytest.raises(BundleError, match="column 'p:good' is not in the data"):
        output_rows(TENSOR, {"p:bad": [0.25]})
    np.testing.assert_array_equal(output_rows(tiny("regression").manifest.spec, {"value": [3]}), [[3.0]])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no rows"),
        ("a,b\n", "no rows"),
        ("a,b\n1,2\n3\n", "row 1 has 1 cells, the header has 2"),
        ("a,a\n1,2\n", "column 'a' appears twice"),
    ],
)
def test_refuses_a_csv_file_without_clean_columns(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "data.csv").write_text(text)
    with pytest.raises(BundleError, match=complaint):
        read_csv(tmp_path / "data.csv")


def test_refuses_a_csv_file_that_is_absent_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"absent\.csv"):
        read_csv(tmp_path / "absent.csv")
    (tmp_path / "data.csv").write_bytes(b"a\n\xff\xfe\n")
    with pytest.raises(BundleError, match=r"data\.csv"):
        read_csv(tmp_path / "data.csv")


def test_reads_a_csv_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("\ufeffage\n1\n", encoding="utf-8")
    assert read_csv(tmp_path / "data.csv") == {"age": ["1"]}
