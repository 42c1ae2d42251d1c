"""Rows as JSON: decoders made once from the model's schema, and a patient reader that explains.

The fast decoder checks names, types and categories while it parses (about 1 µs a row) and turns
categories into their codes on the way: they are decoded as enumeration members that are floats.
It knows what training saw, and takes nothing else, so that rows as usual need no second look. What it refuses
is decoded with all that the model can take, and what that refuses is read again by ``diagnose``, which names
every instance and feature at fault.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from enum import Enum
from itertools import chain, islice
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec.structs import astuple

from service.domain.expectations import Expectation, Expectations, active, posted_limits
from service.domain.schema import LARGEST, WHOLE, Feature, FeatureBatch, Schema
from service.http.codec import read_json
from service.http.expecting import Judge, Loc, Violated
from service.http.problem import TOO_MANY_ERRORS, Problem, does_not_fit

LONGEST_NAME = 200
"""Characters of a caller's own name that a problem repeats; no feature's name is longer."""
TOO_LARGE = "infinite, or too large for the model's type"


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
        violated: counts refused values, and those that are answered with a warning.
        expectations: of the rows, beyond the schema.
    """

    def __init__(
        self, schema: Schema, max_rows: int, violated: Violated, expectations: Expectations = ()
    ) -> None:
        self._schema = schema
        self._width, self._dtype, self._image = schema.width, schema.dtype, schema.layout == "image"
        self._max_rows = max_rows
        self._violated = violated
        self._code = {
            feature.name: {word: float(code) for code, word in enumerate(feature.categories)}
            for feature in schema.features
        }
        self._one = struct.Struct(self._format(1))
        self.plain = schema.layout == "tensor" and all(each.type == "float" for each in schema.features)
        """Whether every value is a number that may have a fraction; see ``plain_rows``."""
        self._judge = Judge(schema, expectations, violated)
        self._patient = False
        everything, usual = active(schema, ()), active(schema, expectations)
        self.type: Any = self._instance(everything)
        """What a msgspec decoder reads one instance as."""
        self.usual: Any = self.type if self._patient or usual == everything else self._instance(usual)
        """The same, but for instances that break an expectation, which the decoder refuses."""

    def rows(self, instances: list[Any], *, usual: bool) -> tuple[FeatureBatch, bytes]:
        """Canonical rows and the warnings about them.

        Args:
            instances: decoded as ``list[self.usual]`` or as ``list[self.type]``.
            usual: whether it was the former.

        Raises:
            Problem: 422 without rows, with a number too large, or with rows that are refused as unlike
                training's; 413 with too many rows.
        """
        count = len(instances)
        if not 0 < count <= self._max_rows:
            raise self._wrong_count(count)
        if self._patient:
            rows = self._read_all(instances, [])
            return rows, self.warnings(rows)
        if self._image:
            rows = np.array(instances, dtype=np.float32).reshape(count, -1)
            return rows, b"" if usual else self.warnings(rows)
        complete = True
        try:
            if count == 1:
                row = instances[0]
                packed = self._one.pack(*(row if type(row) is tuple else astuple(row)))
            else:
                tuples = [row if type(row) is tuple else astuple(row) for row in instances]
                packed = struct.pack(self._format(count), *chain.from_iterable(tuples))
        except struct.error:  # a missing value
            tuples = [row if type(row) is tuple else astuple(row) for row in instances]
            values = [math.nan if value is None else value for value in chain.from_iterable(tuples)]
            packed = struct.pack(self._format(count), *values)
            complete = False
        rows = np.ndarray((count, self._width), self._dtype, packed)  # half the time of frombuffer
        if usual and (complete or self._judge.watch.fits_shares(rows)):
            return rows, b""
        return rows, self.warnings(rows)

    def warnings(self, rows: FeatureBatch) -> bytes:
        """What is to be said about canonical rows: JSON objects with commas between them, or nothing.

        Raises:
            Problem: 422, the manifest has such rows refused.
        """
        return self._judge.warnings(rows, self._place)

    def plain_rows(self, instances: Any) -> tuple[FeatureBatch, bytes] | None:
        """Canonical rows of arrays of numbers and their warnings, or None for whatever else ``instances`` is.

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
        if self._judge.watch.fits(rows):
            return rows, b""
        return (rows, self.warnings(rows)) if np.isfinite(rows).all() else None

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

    def _place(self, row: int | None, column: int) -> Loc:
        where = ("instances",) if row is None else ("instances", row)
        return (*where, self._schema.features[column].name) if self._schema.features else where

    def _instance(self, expectations: Expectations) -> Any:
        """Arrays of the tensor's shape; or an object by feature name, or an array in schema order."""
        if self._schema.layout == "image":
            nested: Any = _number(expectations[0])
            for length in reversed(self._schema.shape):
                nested = Annotated[list[nested], msgspec.Meta(min_length=length, max_length=length)]
            return nested
        types = [_type(*pair) for pair in zip(self._schema.features, expectations, strict=True)]
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


def body_decoder(instance: Any, fields: Sequence[Any] = ()) -> Callable[[bytes], Any]:
    """Decodes an object with ``instances`` and these fields.

    Args:
        instance: what one instance is read as, see ``InstanceReader``.
        fields: as ``msgspec.defstruct`` takes them.
    """
    members = [("instances", list[instance]), *fields]
    return msgspec.json.Decoder(msgspec.defstruct("Body", members, forbid_unknown_fields=True)).decode


def _type(feature: Feature, expected: Expectation) -> Any:
    """What a msgspec decoder reads one value as."""
    base: Any
    if feature.type == "string":
        usual = feature.categories if expected.categories is None else expected.categories
        members = {f"c{code}": (w, code) for code, w in enumerate(feature.categories) if w in usual}
        base = _Code(feature.name, members)  # type: ignore[arg-type]  # the functional form of Enum
    elif feature.type == "int64":
        low, high = posted_limits(feature, expected)
        base = Annotated[int, msgspec.Meta(ge=low, le=high)]
    else:
        base = _number(expected)
    return base | None if feature.missing and expected.missing_rate != 0 else base


def _number(expected: Expectation) -> Any:
    low, high = posted_limits(Feature("", "float"), expected)
    return Annotated[float, msgspec.Meta(ge=low, le=high, multiple_of=1 if expected.whole else None)]


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
