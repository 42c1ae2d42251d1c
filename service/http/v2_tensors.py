"""From the tensors of a request to the canonical rows of one model.

A packed float32 tensor sent as raw bytes becomes the canonical matrix without being copied; where the
JSON in front of it leaves it at an odd address, it is copied once.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.expectations import Expectations
from service.domain.schema import LARGEST, WHOLE, Binding, Feature, FeatureBatch, Schema
from service.http import v2_wire
from service.http.expecting import Judge, Loc, Place, Violated
from service.http.instances import LONGEST_NAME, TOO_LARGE, unknown_category
from service.http.problem import TOO_MANY_ERRORS, Problem, does_not_fit
from service.http.v2_wire import Fault, Part, Tensor, unfit

COLUMN_SHAPES: tuple[tuple[int, ...], ...] = ((), (1,))
"""Shapes of one row of one feature's tensor."""


class TensorReader:
    """Reads the inputs of one model.

    Layouts ``tensor`` and ``image`` take one packed tensor under the graph's input name, in which a
    category is its index in the manifest. Every tabular model takes one tensor for each feature, under
    the feature's name.

    Args:
        schema: what the model takes.
        binding: names the graph's input.
        max_rows: more are refused with 413.
        violated: counts refused values, and those that are answered with a warning.
        expectations: of the rows, beyond the schema.
    """

    def __init__(
        self,
        schema: Schema,
        binding: Binding,
        max_rows: int,
        violated: Violated,
        expectations: Expectations = (),
    ) -> None:
        self._features = schema.features
        self._dtype = schema.dtype
        self._max_rows = max_rows
        self._violated = violated
        self._judge = Judge(schema, expectations, violated)
        self._packed = None if schema.layout == "columns" else binding.inputs[0]
        self._packed_shape = schema.shape or (len(schema.features),)
        self._position = {feature.name: index for index, feature in enumerate(schema.features)}
        self._codes = [
            {b"": math.nan} | {word.encode(): float(code) for code, word in enumerate(feature.categories)}
            for feature in schema.features
        ]
        self._may_miss = np.array([feature.missing for feature in schema.features] or [False])
        self._whole = [index for index, feature in enumerate(schema.features) if feature.type == "int64"]
        self._words = [index for index, feature in enumerate(schema.features) if feature.type == "string"]

    def rows(self, tensors: list[Tensor], binary: memoryview) -> tuple[FeatureBatch, bytes]:
        """Canonical rows, which may share memory with ``binary``, and the warnings about them.

        Args:
            tensors: the request's inputs.
            binary: what follows the JSON in the body.

        Raises:
            Problem: 400, the sizes of the raw tensors do not add up to ``binary``; 413, too many rows;
                422, naming every tensor, row and feature that does not fit, or is refused as unlike
                training's.
        """
        parts = v2_wire.split(tensors, binary)
        alone = len(tensors) == 1 and tensors[0].name == self._packed
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at below
            if alone and not (len(self._features) == 1 and self._packed in self._position):
                return self._read_packed(tensors[0], parts[0])
            return self._read_columns(tensors, parts)

    def _read_packed(self, tensor: Tensor, part: Part) -> tuple[FeatureBatch, bytes]:
        rows = self._count(tensor, (self._packed_shape,))
        errors: list[dict[str, Any]] = []
        locate = partial(self._in_packed, tensor.name)
        values, faults = v2_wire.numbers(tensor, part)
        if not faults:
            values, faults = self._converted(values)
        width = math.prod(self._packed_shape)
        for fault in faults:
            self._refuse(*divmod(fault.element, width), fault.kind, fault.message, locate, errors)
        if errors:
            raise does_not_fit(errors)
        matrix: FeatureBatch = values.reshape(rows, width)
        if not matrix.flags.aligned:
            matrix = matrix.copy()
        if self._judge.watch.fits(matrix):
            return matrix, b""
        self._check(matrix, locate, errors)
        for column in self._words:
            self._check_codes(matrix[:, [column]], column, locate, errors)
        if errors:
            raise does_not_fit(errors)
        return matrix, self._judge.warnings(matrix, locate)

    def _read_columns(self, tensors: list[Tensor], parts: list[Part]) -> tuple[FeatureBatch, bytes]:
        self._check_names([tensor.name for tensor in tensors])
        rows = self._count(tensors[0], COLUMN_SHAPES)
        matrix = np.empty((rows, len(tensors)), self._dtype)
        errors: list[dict[str, Any]] = []
        for tensor, part in zip(tensors, parts, strict=True):
            found = self._count(tensor, COLUMN_SHAPES)
            if found != rows:
                raise unfit(tensor, f"has {found} rows, {tensors[0].name!r} has {rows}", "shape")
            column = self._position[tensor.name]
            values, faults = self._read_column(column, tensor, part)
            for fault in faults:
                self._refuse(fault.element, column, fault.kind, fault.message, self._in_column, errors)
            if not faults:
                matrix[:, column] = values
        if errors:
            raise does_not_fit(errors)
        if self._judge.watch.fits(matrix):
            return matrix, b""
        self._check(matrix, self._in_column, errors)
        if errors:
            raise does_not_fit(errors)
        return matrix, self._judge.warnings(matrix, self._in_column)

    def _read_column(self, column: int, tensor: Tensor, part: Part) -> tuple[Any, list[Fault]]:
        """One feature's canonical values, [rows]."""
        if self._features[column].type != "string":
            values, faults = v2_wire.numbers(tensor, part)
            return (values, faults) if faults else self._converted(values)
        words, faults = v2_wire.words(tensor, part)
        codes = self._codes[column]
        if not faults and not codes.keys() >= set(words):
            strange = [(row, word) for row, word in enumerate(words) if word not in codes][:TOO_MANY_ERRORS]
            for row, word in strange:
                text = word[:LONGEST_NAME].decode(errors="replace")
                faults.append(Fault(row, "category", unknown_category(self._features[column], text)))
        return [codes.get(word) for word in words], faults

    def _check_names(self, names: list[str]) -> None:
        errors: list[dict[str, Any]] = []
        seen: set[str] = set()
        for name in names:
            loc = ("inputs", name[:LONGEST_NAME])
            if name in seen:
                errors.append(_error(loc, "there twice"))
            elif name == self._packed and name not in self._position:
                errors.append(_error(loc, "holds every feature, so it goes alone"))
            elif name not in self._position:
                errors.append(_error(loc, f"unknown input; {self._offer()}"))
            if len(errors) == TOO_MANY_ERRORS:
                break
            seen.add(name)
        if not names:
            errors.append(_error(("inputs",), f"expected at least one; {self._offer()}"))
        elif not errors:
            for feature in self._features:
                if feature.name not in seen:
                    self._violated(feature.name, "missing")
                    errors.append(
                        _error(("inputs", feature.name), f"required, and not there; {self._offer()}")
                    )
        if errors:
            raise does_not_fit(errors)

    def _offer(self) -> str:
        packed = f"the model takes {self._packed!r} {_shape(self._packed_shape)}"
        if not self._features:
            return packed
        columns = f"one input for each feature ({', '.join(list(self._position)[:20])})"
        return f"the model takes {columns}" if self._packed is None else f"{packed}, or {columns}"

    def _count(self, tensor: Tensor, shapes: tuple[tuple[int, ...], ...]) -> int:
        """Rows of a tensor whose single rows have one of ``shapes``."""
        if not tensor.shape or tuple(tensor.shape[1:]) not in shapes:
            expected = " or ".join(_shape(shape) for shape in shapes)
            raise unfit(tensor, f"expected {expected}, found {tensor.shape[:10]}", "shape")
        rows = tensor.shape[0]
        if rows > self._max_rows:
            found = f"{rows} rows, at most {self._max_rows} are answered in one request"
            raise Problem(413, f"inputs.{tensor.name[:LONGEST_NAME]}: {found}")
        if rows == 0:
            raise unfit(tensor, "expected at least one row", "shape")
        return rows

    def _converted(self, values: NDArray[Any]) -> tuple[NDArray[Any], list[Fault]]:
        """The values in the canonical type, rounded as JSON numbers are; too large an integer is a fault."""
        if values.dtype == self._dtype:
            return values, []
        with np.errstate(over="ignore"):  # what overflows is infinite now, and refused as too large
            converted = values.astype(self._dtype)
        if values.dtype.kind == "f" or not (wrong := (values > WHOLE) | (values < -WHOLE)).any():
            return converted, []
        places = np.flatnonzero(wrong)[:TOO_MANY_ERRORS].tolist()
        return converted, [Fault(index, "range", TOO_LARGE) for index in places]

    def _check(self, matrix: FeatureBatch, locate: Place, errors: list[dict[str, Any]]) -> None:
        """Adds an error for each value that may not be missing, infinite, so large or a fraction."""
        every = list(range(matrix.shape[1]))
        finite = np.isfinite(matrix)
        if not finite.all():
            missing = np.isnan(matrix)
            self._mark(missing & ~self._may_miss, every, "missing", "may not be missing", locate, errors)
            self._mark(~finite & ~missing, every, "range", TOO_LARGE, locate, errors)
        if self._dtype == np.float64:
            self._mark(finite & (np.abs(matrix) > LARGEST), every, "range", TOO_LARGE, locate, errors)
        if self._whole:
            numbers = matrix[:, self._whole]
            present = finite[:, self._whole]
            fraction = present & (numbers != np.floor(numbers))
            self._mark(fraction, self._whole, "type", "expected a whole number", locate, errors)
            self._mark(present & (np.abs(numbers) > WHOLE), self._whole, "range", TOO_LARGE, locate, errors)

    def _check_codes(
        self, codes: FeatureBatch, column: int, locate: Place, errors: list[dict[str, Any]]
    ) -> None:
        """Adds an error for each number, [rows, 1], that is no index of the column's categories."""
        last = len(self._features[column].categories) - 1
        wrong = np.isfinite(codes) & ((codes < 0) | (codes > last) | (codes != np.floor(codes)))
        self._mark(wrong, [column], "category", f"expected a category's index, 0 to {last}", locate, errors)

    def _mark(
        self,
        wrong: NDArray[np.bool_],
        columns: list[int],
        kind: str,
        message: str,
        locate: Place,
        errors: list[dict[str, Any]],
    ) -> None:
        """One error for each true cell of ``wrong``, [rows, len(columns)]."""
        for row, index in np.argwhere(wrong)[:TOO_MANY_ERRORS].tolist():
            self._refuse(row, columns[index], kind, message, locate, errors)

    def _refuse(
        self, row: int, column: int, kind: str, message: str, locate: Place, errors: list[dict[str, Any]]
    ) -> None:
        if self._features:
            self._violated(self._features[column].name, kind)
        errors.append(_error(locate(row, column), message))

    def _in_packed(self, name: str, row: int | None, column: int) -> Loc:
        where = ("inputs", name) if row is None else ("inputs", name, row)
        return (*where, self._features[column].name) if self._features else where

    def _in_column(self, row: int | None, column: int) -> Loc:
        where = ("inputs", self._features[column].name)
        return where if row is None else (*where, row)


def default_inputs(schema: Schema, binding: Binding) -> list[dict[str, Any]]:
    """The inputs as a model's metadata lists them, -1 for the number of rows.

    A packed tensor where it can be filled without knowing categories, else one input for each feature.
    """
    if schema.layout != "columns" and not any(feature.categories for feature in schema.features):
        shape = schema.shape or (len(schema.features),)
        return [{"name": binding.inputs[0], "datatype": "FP32", "shape": [-1, *shape]}]
    return [{"name": f.name, "datatype": _datatype(f), "shape": [-1, 1]} for f in schema.features]


def _datatype(feature: Feature) -> str:
    return {"float": "FP32", "int64": "INT64", "string": "BYTES"}[feature.type]


def _shape(row: tuple[int, ...]) -> str:
    return f"[{', '.join(['rows', *map(str, row)])}]"


def _error(loc: Loc, message: str) -> dict[str, Any]:
    return {"loc": list(loc), "msg": message}
