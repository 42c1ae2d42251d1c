"""Tensors of the Open Inference Protocol, as JSON or as raw bytes, to canonical rows.

A packed float32 tensor sent as raw bytes becomes the canonical matrix without being copied (or, where
the JSON in front of it leaves it at an odd address, copied once).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.domain.schema import Binding, Feature, FeatureBatch, Schema
from service.http.instances import (
    LARGEST,
    LONGEST_NAME,
    TOO_LARGE,
    WHOLE,
    Loc,
    Violated,
    kind_of,
    unknown_category,
)
from service.http.problem import TOO_MANY_ERRORS, Problem, does_not_fit

Errors: TypeAlias = list[dict[str, Any]]
Part: TypeAlias = memoryview | list[Any]
"""A tensor's data: raw bytes, or JSON values."""
Locate: TypeAlias = Callable[[int, int], Loc]
"""(row, column) of the canonical matrix to the place in the request."""

DTYPES = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8"), "INT32": np.dtype("<i4"), "INT64": np.dtype("<i8")}
"""Numbers that are read; what the model's own type cannot hold exactly is refused."""
LIMITS = {
    "FP32": (-LARGEST, LARGEST),
    "FP64": (-float(np.finfo(np.float64).max), float(np.finfo(np.float64).max)),
    "INT32": (-(2**31), 2**31 - 1),
    "INT64": (-WHOLE, WHOLE),
}
JSON_TYPES: dict[str, frozenset[type]] = {
    "FP32": frozenset({float, int, type(None)}),
    "FP64": frozenset({float, int, type(None)}),
    "INT32": frozenset({int, type(None)}),
    "INT64": frozenset({int, type(None)}),
    "BYTES": frozenset({str, type(None)}),
}
LENGTH = struct.Struct("<I")
"""What stands in front of each element of a raw BYTES tensor: its length in bytes."""


class TensorParameters(msgspec.Struct):
    """Parameters of one input; others mean nothing here."""

    binary_data_size: Annotated[int, msgspec.Meta(ge=0)] | None = None
    shared_memory_region: Any = None


class Tensor(msgspec.Struct, forbid_unknown_fields=True):
    """One input of a request."""

    name: str
    shape: list[Annotated[int, msgspec.Meta(ge=0)]]
    datatype: str
    parameters: TensorParameters | None = None
    data: list[Any] | None = None


class TensorReader:
    """Reads the input tensors of one model.

    Layouts ``tensor`` and ``image`` take one packed tensor under the graph's input name; every tabular
    model takes one tensor for each feature under the feature's name. In a packed tensor a category
    is its index in the manifest.

    Args:
        schema: what the model takes.
        binding: names the graph's input.
        max_rows: more are refused with 413.
        violated: told (feature, kind) of every refused value.
    """

    def __init__(self, schema: Schema, binding: Binding, max_rows: int, violated: Violated) -> None:
        self._schema = schema
        self._max_rows = max_rows
        self._violated = violated
        self._packed = None if schema.layout == "columns" else binding.inputs[0]
        self._packed_shape = schema.shape if schema.layout == "image" else (len(schema.features),)
        self._position = {feature.name: index for index, feature in enumerate(schema.features)}
        self._codes = [
            {b"": math.nan} | {word.encode(): float(code) for code, word in enumerate(feature.categories)}
            for feature in schema.features
        ]
        self._missing = np.array([feature.missing for feature in schema.features] or [False])
        self._whole = [index for index, feature in enumerate(schema.features) if feature.type == "int64"]
        self._words = [index for index, feature in enumerate(schema.features) if feature.type == "string"]

    def rows(self, tensors: list[Tensor], binary: memoryview) -> FeatureBatch:
        """Canonical rows; may share memory with ``binary``.

        Args:
            tensors: the request's inputs.
            binary: what follows the JSON in the body.

        Raises:
            Problem: 400, the sizes of the raw tensors do not add up to ``binary``; 413, too many rows;
                422, naming every tensor, row and feature that does not fit.
        """
        parts = _split(tensors, binary)
        if len(tensors) == 1 and tensors[0].name == self._packed and not self._is_column(tensors[0]):
            return self._read_packed(tensors[0], parts[0])
        return self._read_columns(tensors, parts)

    def _is_column(self, tensor: Tensor) -> bool:
        """Whether the one feature of a model has the name of the graph's input as well."""
        return len(self._schema.features) == 1 and tensor.name in self._position

    def _read_packed(self, tensor: Tensor, part: Part) -> FeatureBatch:
        rows = self._count(tensor, (self._packed_shape,))
        features = self._schema.features

        def locate(row: int, column: int) -> Loc:
            return ("inputs", tensor.name, row, features[column].name) if features else ("inputs", tensor.name, row)

        errors: Errors = []
        values = self._numbers(tensor, part, locate, errors).reshape(rows, -1)
        matrix = np.require(self._converted(tensor, values, locate, errors), requirements="CA")
        self._check(matrix, locate, errors)
        self._check_codes(matrix, locate, errors)
        if errors:
            raise does_not_fit(errors)
        return matrix

    def _read_columns(self, tensors: list[Tensor], parts: list[Part]) -> FeatureBatch:
        self._check_names([tensor.name for tensor in tensors])
        rows = self._count(tensors[0], ((), (1,)))
        matrix = np.empty((rows, len(tensors)), self._schema.dtype)
        errors: Errors = []

        def locate(row: int, column: int) -> Loc:
            return "inputs", self._schema.features[column].name, row

        for tensor, part in zip(tensors, parts, strict=True):
            column = self._position[tensor.name]
            found = self._count(tensor, ((), (1,)))
            if found != rows:
                raise _unfit(tensor, f"has {found} rows, {tensors[0].name!r} has {rows}")
            if self._schema.features[column].type == "string":
                matrix[:, column] = self._read_words(column, tensor, part, errors)
            else:
                here = _in_column(locate, column)
                values = self._numbers(tensor, part, here, errors).reshape(rows, 1)
                matrix[:, column] = self._converted(tensor, values, here, errors)[:, 0]
        if not errors:
            self._check(matrix, locate, errors)
        if errors:
            raise does_not_fit(errors)
        return matrix

    def _check_names(self, names: list[str]) -> None:
        errors: Errors = []
        for index, name in enumerate(names):
            if name in names[:index]:
                errors.append(_error(("inputs", name[:LONGEST_NAME]), "there twice"))
            elif name == self._packed and len(names) > 1:
                errors.append(_error(("inputs", name), "holds every feature, so it goes alone"))
            elif name not in self._position:
                errors.append(_error(("inputs", name[:LONGEST_NAME]), f"unknown input; {self._offered()}"))
            if len(errors) >= TOO_MANY_ERRORS:
                break
        if not errors:
            absent = [feature for feature in self._schema.features if feature.name not in names]
            for feature in absent:
                self._refuse(feature, ("inputs", feature.name), "missing", "required, and not there", errors)
        if errors or not names:
            raise does_not_fit(errors or [_error(("inputs",), f"expected at least one; {self._offered()}")])

    def _offered(self) -> str:
        packed = f"{self._packed!r} {['rows', *self._packed_shape]}".replace("'rows'", "rows")
        if self._schema.layout == "image":
            return f"the model takes {packed}"
        columns = f"one input for each feature: {', '.join(list(self._position)[:20])}"
        return f"the model takes {columns}" if self._packed is None else f"the model takes {packed}, or {columns}"

    def _count(self, tensor: Tensor, shapes: tuple[tuple[int, ...], ...]) -> int:
        """Rows of a tensor whose rows have one of ``shapes``."""
        if not tensor.shape or tuple(tensor.shape[1:]) not in shapes:
            expected = " or ".join(f"[{', '.join(['rows', *map(str, shape)])}]" for shape in shapes)
            raise _unfit(tensor, f"expected shape {expected}, found {tensor.shape[:10]}", "shape")
        rows = tensor.shape[0]
        if rows > self._max_rows:
            where = f"inputs.{tensor.name}"
            raise Problem(413, f"{where}: {rows} rows, at most {self._max_rows} are answered in one request")
        if rows == 0:
            raise _unfit(tensor, "expected at least one row", "shape")
        return rows

    def _numbers(self, tensor: Tensor, part: Part, locate: Locate, errors: Errors) -> NDArray[Any]:
        """The tensor's numbers in the type that they were sent as, [elements]; JSON's null is NaN."""
        dtype = DTYPES.get(tensor.datatype)
        if dtype is None:
            raise _unfit(tensor, f"expected FP32, FP64, INT32 or INT64, found {tensor.datatype[:20]!r}", "datatype")
        count = math.prod(tensor.shape)
        if isinstance(part, memoryview):
            if len(part) != count * dtype.itemsize:
                message = f"{tensor.datatype} {tensor.shape} is {count * dtype.itemsize} bytes, found {len(part)}"
                raise _unfit(tensor, message, "data")
            return np.frombuffer(part, dtype)
        values = _flat(tensor, part)
        try:
            array = np.array(values, np.float64) if set(map(type, values)) <= JSON_TYPES[tensor.datatype] else None
        except OverflowError:
            array = None
        low, high = LIMITS[tensor.datatype]
        if array is None or (dtype.kind == "i" and not all(low <= value <= high for value in values if value is not None)):
            self._explain(tensor, values, locate, errors)
            raise does_not_fit(errors)
        if tensor.datatype == "FP32":
            with np.errstate(over="ignore"):  # becomes infinite, which is refused
                return array.astype(np.float32)
        return array

    def _explain(self, tensor: Tensor, values: list[Any], locate: Locate, errors: Errors) -> None:
        """An error for each JSON value that cannot be of the tensor's datatype."""
        width = math.prod(tensor.shape[1:])
        low, high = LIMITS.get(tensor.datatype, (0, 0))
        for index, value in enumerate(values):
            kind, message = "type", f"expected {tensor.datatype}, found {kind_of(value)}"
            if type(value) in JSON_TYPES[tensor.datatype]:
                if value is None or isinstance(value, str) or math.isnan(value) or low <= value <= high:
                    continue
                kind, message = "range", TOO_LARGE
            elif isinstance(value, float):
                message = f"expected {tensor.datatype}, found {value}"
            column = index % width
            self._refuse(self._feature(tensor, column), locate(index // width, column), kind, message, errors)
            if len(errors) >= TOO_MANY_ERRORS:
                return

    def _feature(self, tensor: Tensor, column: int) -> Feature | None:
        """The feature that a column of a tensor holds; None for an image's."""
        features = self._schema.features
        if tensor.name in self._position:
            return features[self._position[tensor.name]]
        return features[column] if features else None

    def _converted(
        self, tensor: Tensor, values: NDArray[Any], locate: Locate, errors: Errors
    ) -> NDArray[np.floating]:
        """The values in the canonical type; an error for each that it cannot hold exactly."""
        dtype = self._schema.dtype
        if values.dtype == dtype:
            return values
        with np.errstate(over="ignore"):
            converted = values.astype(dtype)
        wrong = (converted != values) & ~np.isnan(converted)
        if values.dtype.kind == "i":
            wrong |= (values > WHOLE) | (values < -WHOLE)
        for row, column in np.argwhere(wrong)[:TOO_MANY_ERRORS].tolist():
            message = f"{tensor.datatype} {values[row, column]} is no {_name_of(dtype)}, which the model takes; round it"
            self._refuse(self._feature(tensor, column), locate(row, column), "type", message, errors)
        return converted

    def _read_words(self, column: int, tensor: Tensor, part: Part, errors: Errors) -> list[float]:
        """The codes of a BYTES tensor; a word that is not known is an error and NaN."""
        feature = self._schema.features[column]
        if tensor.datatype != "BYTES":
            raise _unfit(tensor, f"expected BYTES, found {tensor.datatype[:20]!r}", "datatype")
        if isinstance(part, memoryview):
            words = _unpack_words(tensor, part)
        else:
            values = _flat(tensor, part)
            if not set(map(type, values)) <= JSON_TYPES["BYTES"]:
                self._explain(tensor, values, lambda row, _: ("inputs", tensor.name, row), errors)
                raise does_not_fit(errors)
            words = [(value or "").encode(errors="replace") for value in values]
        codes = self._codes[column]
        if not codes.keys() >= set(words):
            for row, word in enumerate(words):
                if word not in codes and len(errors) < TOO_MANY_ERRORS:
                    message = unknown_category(feature, word[:LONGEST_NAME].decode(errors="replace"))
                    self._refuse(feature, ("inputs", tensor.name, row), "category", message, errors)
        return [codes.get(word, math.nan) for word in words]

    def _check(self, matrix: FeatureBatch, locate: Locate, errors: Errors) -> None:
        """Adds an error for each value that is missing, infinite, too large or not whole where it may not be."""
        finite = np.isfinite(matrix)
        if not finite.all():
            self._mark(np.isnan(matrix) & ~self._missing, "missing", "may not be missing", locate, errors)
            self._mark(np.isinf(matrix), "range", "expected a finite number", locate, errors)
        if matrix.dtype == np.float64 and (np.abs(matrix) > LARGEST).any():  # NaN is not above anything
            self._mark((np.abs(matrix) > LARGEST) & finite, "range", TOO_LARGE, locate, errors)
        if self._whole:
            numbers = matrix[:, self._whole]
            fractions = np.zeros(matrix.shape, np.bool_)
            fractions[:, self._whole] = (numbers != np.floor(numbers)) & np.isfinite(numbers)
            self._mark(fractions, "type", "expected a whole number", locate, errors)
            large = np.zeros(matrix.shape, np.bool_)
            large[:, self._whole] = (np.abs(numbers) > WHOLE) & np.isfinite(numbers)
            self._mark(large, "range", TOO_LARGE, locate, errors)

    def _check_codes(self, matrix: FeatureBatch, locate: Locate, errors: Errors) -> None:
        """Adds an error for each category of a packed tensor that is no index of the manifest."""
        for column in self._words:
            last = len(self._schema.features[column].categories) - 1
            codes = matrix[:, column]
            wrong = np.zeros(matrix.shape, np.bool_)
            wrong[:, column] = ((codes < 0) | (codes > last) | (codes != np.floor(codes))) & np.isfinite(codes)
            self._mark(wrong, "category", f"expected a category's index, 0 to {last}", locate, errors)

    def _mark(self, wrong: NDArray[np.bool_], kind: str, message: str, locate: Locate, errors: Errors) -> None:
        for row, column in np.argwhere(wrong)[: TOO_MANY_ERRORS - len(errors)].tolist():
            feature = self._schema.features[column] if self._schema.features else None
            self._refuse(feature, locate(row, column), kind, message, errors)

    def _refuse(self, feature: Feature | None, loc: Loc, kind: str, message: str, errors: Errors) -> None:
        if feature is not None:
            self._violated(feature.name, kind)
        errors.append(_error(loc, message))


def pack_words(words: Sequence[bytes]) -> bytes:
    """A raw BYTES tensor."""
    return b"".join([LENGTH.pack(len(word)) + word for word in words])


def _split(tensors: list[Tensor], binary: memoryview) -> list[Part]:
    """Each tensor's own data."""
    parts: list[Part] = []
    start = 0
    for tensor in tensors:
        size = None if tensor.parameters is None else tensor.parameters.binary_data_size
        if size is not None:
            if tensor.data is not None:
                raise _unfit(tensor, "has both data and binary_data_size", "data")
            if start + size > len(binary):
                left = f"{len(binary) - start} bytes of the body are left for its {size}"
                raise Problem(400, f"inputs.{tensor.name[:LONGEST_NAME]}: {left}")
            parts.append(binary[start : start + size])
            start += size
        elif tensor.data is not None:
            parts.append(tensor.data)
        elif tensor.parameters is not None and tensor.parameters.shared_memory_region is not None:
            raise _unfit(tensor, "shared memory is not offered; send data", "parameters")
        else:
            raise _unfit(tensor, "has neither data nor binary_data_size", "data")
    if start != len(binary):
        raise Problem(400, f"the body has {len(binary) - start} bytes that belong to no input")
    return parts


def _flat(tensor: Tensor, data: list[Any]) -> list[Any]:
    """JSON data in C order, whether it came flat or nested as the shape is."""
    if len(data) == math.prod(tensor.shape) and not (data and isinstance(data[0], list)):
        return data
    level = data
    for depth, length in enumerate(tensor.shape):
        if len(level) != length if depth == 0 else any(not isinstance(p, list) or len(p) != length for p in level):
            raise _unfit(tensor, f"expected {math.prod(tensor.shape)} values, flat or nested as {tensor.shape}", "data")
        level = level if depth == 0 else list(chain.from_iterable(level))
    return level


def _unpack_words(tensor: Tensor, part: memoryview) -> list[bytes]:
    raw, start, count = bytes(part), 0, math.prod(tensor.shape)
    words = []
    while start < len(raw) and len(words) < count:
        if start + LENGTH.size > len(raw):
            break
        (length,) = LENGTH.unpack_from(raw, start)
        start += LENGTH.size + length
        if start > len(raw):
            break
        words.append(raw[start - length : start])
    if start != len(raw) or len(words) != count:
        message = f"{len(raw)} bytes are not {count} elements, each behind its length in 4 bytes"
        raise _unfit(tensor, message, "data")
    return words


def _in_column(locate: Locate, column: int) -> Locate:
    return lambda row, _: locate(row, column)


def _name_of(dtype: np.dtype[Any]) -> str:
    return next(name for name, known in DTYPES.items() if known == dtype)


def _error(loc: Loc, message: str) -> dict[str, Any]:
    return {"loc": list(loc), "msg": message}


def _unfit(tensor: Tensor, message: str, *where: str) -> Problem:
    return does_not_fit([_error(("inputs", tensor.name[:LONGEST_NAME], *where), message)])
