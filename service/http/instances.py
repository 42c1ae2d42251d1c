"""Rows as JSON: a decoder made once from the model's schema, and a patient one that explains.

The fast decoder checks names, types and categories while it parses (about 1 µs a row) and turns
categories into their codes on the way: they are decoded as enumeration members that are floats.
What it refuses is read again by ``diagnose``, which names every instance and feature at fault.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from enum import Enum
from itertools import chain, islice
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
from msgspec.structs import astuple

from service.domain.schema import Feature, FeatureBatch, Schema
from service.http.codec import read_json
from service.http.problem import TOO_MANY_ERRORS, Problem, does_not_fit

Loc: TypeAlias = tuple[str | int, ...]
Violated: TypeAlias = Callable[[str, str], None]
"""Told (feature, kind) of every refused value; kind is missing, range, category or type."""

LARGEST = float(np.finfo(np.float32).max)
"""Whatever is neither whole nor a word reaches the graph as float32."""
WHOLE = 2**53
"""Integers up to here are exact in float64."""
LONGEST_NAME = 200
"""Characters of a caller's own name that a problem repeats; no feature's name is longer."""
TOO_LARGE = "infinite, or too large for the model's type"


_FLOAT = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]


class _Code(float, Enum):
    """A category whose value is its word and which is its code."""

    def __new__(cls, word: str, code: int) -> _Code:
        member = float.__new__(cls, code)
        member._value_ = word
        return member


class InstanceReader:
    """Reads ``instances`` of one model.

    Args:
        schema: what the model takes.
        max_rows: more are refused with 413.
        violated: counts refused values.
    """

    def __init__(self, schema: Schema, max_rows: int, violated: Violated) -> None:
        self._schema = schema
        self._width, self._dtype = schema.width, schema.dtype
        self._max_rows = max_rows
        self._violated = violated
        self._code = {
            feature.name: {word: float(code) for code, word in enumerate(feature.categories)}
            for feature in schema.features
        }
        self._one = struct.Struct(self._format(1))
        self.plain = schema.layout == "tensor" and all(each.type == "float" for each in schema.features)
        """Whether every value is a number that may have a fraction; see ``plain_rows``."""
        self._patient = False
        self.type: Any = self._nested() if schema.layout == "image" else self._row()
        """What a msgspec decoder reads one instance as."""

    def rows(self, instances: list[Any]) -> FeatureBatch:
        """Canonical rows of instances decoded as ``list[self.type]``.

        Raises:
            Problem: 422 without rows or with a number too large, 413 with too many rows.
        """
        count = len(instances)
        if not 0 < count <= self._max_rows:
            raise self._wrong_count(count)
        if self._patient:
            return self._read_all(instances, [])
        if self._schema.layout == "image":
            return np.array(instances, dtype=np.float32).reshape(count, -1)
        try:
            if count == 1:
                row = instances[0]
                packed = self._one.pack(*(row if type(row) is tuple else astuple(row)))
            else:
                tuples = [row if type(row) is tuple else astuple(row) for row in instances]
                packed = struct.pack(self._format(count), *chain.from_iterable(tuples))
        except struct.error:  # a missing value
            tuples = [row if type(row) is tuple else astuple(row) for row in instances]
            return np.array(tuples, dtype=self._dtype)
        return np.ndarray((count, self._width), self._dtype, packed)  # half the time of frombuffer

    def plain_rows(self, instances: Any) -> FeatureBatch | None:
        """Canonical rows of arrays of numbers, or None for whatever else ``instances`` is.

        For ``plain`` schemas and JSON values among which is no boolean, which would pass for a number.
        """
        if type(instances) is not list or not 0 < len(instances) <= self._max_rows:
            return None
        if {type(row) for row in instances} != {list} or {len(row) for row in instances} != {self._width}:
            return None
        try:
            packed = struct.pack(self._format(len(instances)), *chain.from_iterable(instances))
        except (struct.error, OverflowError):  # no number, or a whole one too large for any float
            return None
        rows: FeatureBatch = np.ndarray((len(instances), self._width), self._dtype, packed)
        return rows if np.isfinite(rows).all() else None

    def diagnose(self, body: bytes, fields: frozenset[str]) -> dict[str, Any]:
        """Reads a body that the fast decoder refused.

        Returns:
            The document with ``instances`` replaced by canonical rows, where the body is right after
            all (it spells a missing value NaN, which JSON proper does not know).

        Raises:
            Problem: 400 for what is not JSON, 413 for too many rows, 422 naming every error.
        """
        document = read_json(body)
        if not isinstance(document, dict):
            raise does_not_fit([_error((), f"expected an object, found {kind_of(document)}")])
        known = f"unknown field; there are {', '.join(sorted(fields))}"
        unknown = islice((name for name in document if name not in fields), TOO_MANY_ERRORS)
        errors = [_error((name[:LONGEST_NAME],), known) for name in unknown]
        instances = document.get("instances")
        if not isinstance(instances, list):
            found = kind_of(instances) if "instances" in document else "nothing"
            raise does_not_fit([*errors, _error(("instances",), f"expected an array, found {found}")])
        if not 0 < len(instances) <= self._max_rows:
            raise self._wrong_count(len(instances))
        document["instances"] = self._read_all(instances, errors)
        return document

    def _read_all(self, instances: list[Any], errors: list[dict[str, Any]]) -> FeatureBatch:
        """Canonical rows of plain JSON values; raises ``Problem`` with all errors, the given ones too."""
        rows = []
        for index, row in enumerate(instances):
            rows.append(self._read(("instances", index), row, errors))
            if len(errors) >= TOO_MANY_ERRORS:
                break
        if errors:
            raise does_not_fit(errors)
        return np.array(rows, dtype=self._schema.dtype).reshape(len(rows), -1)

    def _format(self, rows: int) -> str:
        letter = "f" if self._schema.dtype == np.float32 else "d"
        return f"{rows * self._schema.width}{letter}"

    def _row(self) -> Any:
        """An object by feature name, or an array in schema order."""
        types = [self._type(feature) for feature in self._schema.features]
        names = [f"f{index}" for index in range(len(types))]  # a feature's name need not be an identifier
        rename = dict(zip(names, self._schema.names(), strict=True))
        try:
            by_name = msgspec.defstruct(
                "Instance",
                list(zip(names, types, strict=True)),
                rename=rename,
                forbid_unknown_fields=True,
                gc=False,
            )
        except ValueError:  # msgspec reads no name with a quote, a backslash or a control character
            self._patient = True
            return dict[str, Any] | list[Any]
        return by_name | tuple[tuple(types)]  # type: ignore[misc]  # types made from data

    def _type(self, feature: Feature) -> Any:
        base: Any
        if feature.type == "string":
            members = {f"c{code}": (word, code) for code, word in enumerate(feature.categories)}
            base = _Code(feature.name, members)  # type: ignore[arg-type]  # the functional form of Enum
        elif feature.type == "int64":
            base = Annotated[int, msgspec.Meta(ge=-WHOLE, le=WHOLE)]
        else:
            base = _FLOAT
        return base | None if feature.missing else base

    def _nested(self) -> Any:
        """Arrays in arrays, of exactly the tensor's shape."""
        nested: Any = _FLOAT
        for length in reversed(self._schema.shape):
            nested = Annotated[list[nested], msgspec.Meta(min_length=length, max_length=length)]
        return nested

    def _wrong_count(self, count: int) -> Problem:
        if count:
            return Problem(
                413, f"instances: {count} rows, at most {self._max_rows} are answered in one request"
            )
        return does_not_fit([_error(("instances",), "expected at least one row")])

    def _read(self, loc: Loc, row: Any, errors: list[dict[str, Any]]) -> list[float]:
        if self._schema.layout == "image":
            return self._read_tensor(loc, row, self._schema.shape, errors)
        features = self._schema.features
        if isinstance(row, dict):
            named = {feature.name for feature in features}
            unknown = islice((name for name in row if name not in named), TOO_MANY_ERRORS)
            errors += [_error((*loc, name[:LONGEST_NAME]), "unknown feature") for name in unknown]
            for feature in features:
                if feature.name not in row:
                    self._refuse(feature, (*loc, feature.name), "missing", "required, and not there", errors)
            return [self._value((*loc, f.name), f, row[f.name], errors) for f in features if f.name in row]
        if isinstance(row, list):
            if len(row) != len(features):
                errors.append(
                    _error(loc, f"expected {len(features)} values in schema order, found {len(row)}")
                )
                return []
            return [
                self._value((*loc, f.name), f, value, errors) for f, value in zip(features, row, strict=True)
            ]
        errors.append(_error(loc, f"expected an object or an array, found {kind_of(row)}"))
        return []

    def _value(self, loc: Loc, feature: Feature, value: Any, errors: list[dict[str, Any]]) -> float:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            if not feature.missing:
                self._refuse(feature, loc, "missing", "may not be missing", errors)
            return math.nan
        if feature.type == "string":
            if not isinstance(value, str):
                self._refuse(feature, loc, "type", f"expected a string, found {kind_of(value)}", errors)
            elif value not in self._code[feature.name]:
                self._refuse(feature, loc, "category", unknown_category(feature, value), errors)
            else:
                return self._code[feature.name][value]
            return math.nan
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._refuse(feature, loc, "type", f"expected a number, found {kind_of(value)}", errors)
        elif abs(value) > (WHOLE if feature.type == "int64" else LARGEST):
            self._refuse(feature, loc, "range", TOO_LARGE, errors)
        elif feature.type == "int64" and value != math.floor(value):
            self._refuse(feature, loc, "type", f"expected a whole number, found {value}", errors)
        else:
            return float(value)
        return math.nan

    def _read_tensor(
        self, loc: Loc, value: Any, shape: tuple[int, ...], errors: list[dict[str, Any]]
    ) -> list[float]:
        if not shape:
            if isinstance(value, bool) or not isinstance(value, int | float):
                errors.append(_error(loc, f"expected a number, found {kind_of(value)}"))
                return []
            missing = isinstance(value, float) and math.isnan(value)
            if missing or abs(value) > LARGEST:
                errors.append(_error(loc, "may not be missing" if missing else TOO_LARGE))
                return []
            return [float(value)]
        if not isinstance(value, list) or len(value) != shape[0]:
            found = f"{len(value)} values" if isinstance(value, list) else kind_of(value)
            errors.append(_error(loc, f"expected an array of {shape[0]}, found {found}"))
            return []
        flat: list[float] = []
        for index, part in enumerate(value):
            flat += self._read_tensor((*loc, index), part, shape[1:], errors)
            if len(errors) >= TOO_MANY_ERRORS:
                break
        return flat

    def _refuse(
        self, feature: Feature, loc: Loc, kind: str, message: str, errors: list[dict[str, Any]]
    ) -> None:
        self._violated(feature.name, kind)
        errors.append(_error(loc, message))


def unknown_category(feature: Feature, word: str) -> str:
    """What is wrong with ``word``, and which words there are."""
    known = ", ".join(feature.categories[:20])
    return f"unknown category {word[:100]!r}; known are {known}"


def _error(loc: Loc, message: str) -> dict[str, Any]:
    return {"loc": list(loc), "msg": message}


def kind_of(value: object) -> str:
    """What JSON calls the value."""
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "null")
