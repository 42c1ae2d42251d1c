"""Recorded traffic as rows: what ``/predict`` was asked, what it answered, and what turned out to be true.

A record is a request or a single row.

* A request has ``instances`` as ``/predict`` takes them, and may have ``request_id``, ``model`` and
  ``predictions`` as it answers them, and ``labels`` as ``/feedback`` takes them.
* A row has a field for each feature (an image has ``pixel:0`` …, in C order), and may have the truth in
  ``label`` and what production answered: ``probabilities`` by class, or a field ``p:CLASS`` each, or
  ``score`` (the second of two classes' probability, or a regression's value), or ``value`` (a regression's).
  Where a feature has one of these names the field is the feature's.

A request that ``--export`` wrote has ``picked`` as well: its rows are no fair sample of the traffic.

Rows pass the same checks as those of ``/predict``. Other fields are left out, and named once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from types import GenericAlias
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.canonical import MISSING_WORDS, column_names
from service.domain.labels import misfits
from service.domain.schema import Feature, FeatureBatch, ModelSpec
from service.http.codec import UNREADABLE
from service.http.instances import InstanceReader, kind_of
from service.http.problem import does_not_fit
from service.paths.traffic import Traffic

LABEL = "label"
"""The field of a row that holds the truth, unless another is named."""
PICKED = "picked"
"""The field that says of an exported request that it is no fair sample of the traffic."""
REQUEST_FIELDS = frozenset(
    {"instances", "request_id", "model", "predictions", "labels", PICKED}
    | {"routing_key", "explain", "uncertainty", "warnings"}  # of /predict, and of no use here
)
MOST_NAMES = 20
"""Fields that are left out, as far as they are named."""

Errors = list[dict[str, Any]]


class TrafficReader:
    """Reads records of one production model.

    Args:
        spec: the model.
        reader: its ``/predict``'s.
        label: the field of a row that holds the truth.
    """

    def __init__(self, spec: ModelSpec, reader: InstanceReader, label: str = LABEL) -> None:
        self._spec = spec
        self._reader = reader
        self._usual, self._any = GenericAlias(list, reader.usual), GenericAlias(list, reader.type)
        self._label = label
        names = column_names(spec.schema)
        features = spec.schema.features or tuple(Feature(name, "float") for name in names)
        self._features = {feature.name: feature for feature in features}
        answers = ("probabilities", *(f"p:{name}" for name in spec.classes)) if spec.classes else ("value",)
        if len(spec.classes) <= 2:
            answers += ("score",)
        told = {label, "request_id", *answers}
        self._told = told - self._features.keys()
        self.left_out: set[str] = set()
        """Fields that were no feature's and meant nothing else, at most ``MOST_NAMES``."""

    def read(self, place: str, fields: Mapping[str, Any], *, text: bool = False) -> Traffic:
        """The rows of one record.

        Args:
            place: where it stands, for the report.
            fields: by name.
            text: whether every value is text, as in CSV.

        Raises:
            Problem: the record does not fit; every error names the instance and the feature.
        """
        if isinstance(fields.get("instances"), list):
            self._leave_out(fields.keys() - REQUEST_FIELDS)
            return self.request(place, fields)
        self._leave_out(fields.keys() - self._features.keys() - self._told)
        return self._row(place, fields, text=text)

    def request(self, place: str, fields: Mapping[str, Any]) -> Traffic:
        """The rows of one request; raises ``Problem`` as ``read`` does."""
        rows = self._rows(fields["instances"])
        errors: Errors = []
        recorded = self._predictions(fields.get("predictions"), len(rows), errors)
        labels = self._labels(fields.get("labels"), len(rows), errors)
        if errors:
            raise does_not_fit(errors)
        by_another = self._by_another(fields.get("model"))
        return Traffic(place, _name(fields), rows, recorded, labels, by_another, fields.get(PICKED) is True)

    def _row(self, place: str, fields: Mapping[str, Any], *, text: bool) -> Traffic:
        values = {name: fields[name] for name in fields if name in self._features}
        if text:
            values = {name: _typed(self._features[name], cell) for name, cell in values.items()}
        given = {name: fields[name] for name in self._told if name in fields}
        if text:
            given = {name: None if cell.strip() == "" else cell for name, cell in given.items()}
        errors: Errors = []
        rows = self._rows([self._instance(values)])
        recorded = np.full((1, self._spec.outputs), math.nan)
        answer = self._answer(given, errors)
        if answer is not None:
            recorded[0] = [self._number((name,), value, errors, text=text) for name, value in answer]
        label = self._truth(given.get(self._label), text=text, errors=errors)
        if errors:
            raise does_not_fit(errors)
        return Traffic(place, _name(given), rows, recorded, np.array([label]))

    def _instance(self, values: Mapping[str, Any]) -> Any:
        """What ``/predict`` would have been sent."""
        if self._spec.schema.layout != "image":
            return values
        absent = next((name for name in self._features if name not in values), None)
        if absent is not None:
            raise does_not_fit([{"loc": [absent], "msg": "required, and not there"}])
        pixels: Any = np.empty(self._spec.schema.shape, dtype=object)
        pixels.flat = [values[name] for name in self._features]
        return pixels.tolist()

    def _rows(self, instances: list[Any]) -> FeatureBatch:
        """Canonical rows, as fast as the usual ones allow."""
        for usual, kind in ((True, self._usual), (False, self._any)):
            try:
                found = msgspec.convert(instances, kind)
            except UNREADABLE:
                continue
            return self._reader.rows(found, usual=usual)[0]
        body = json.dumps({"instances": instances}).encode()
        rows: FeatureBatch = self._reader.diagnose(body, frozenset({"instances"}))["instances"]
        self._reader.warnings(rows)  # or a refusal
        return rows

    def _predictions(self, given: Any, rows: int, errors: Errors) -> NDArray[np.float64]:
        recorded = np.full((rows, self._spec.outputs), math.nan)
        if given is None:
            return recorded
        if not isinstance(given, list) or len(given) != rows:
            errors.append(_error(("predictions",), f"expected an array of {rows}, one for each instance"))
            return recorded
        for index, answer in enumerate(given):
            where = ("predictions", index)
            if isinstance(answer, dict):
                recorded[index] = self._prediction(where, answer, errors)
            elif answer is not None:
                errors.append(_error(where, f"expected an object or null, found {kind_of(answer)}"))
        return recorded

    def _prediction(
        self, where: tuple[str | int, ...], answer: Mapping[str, Any], errors: Errors
    ) -> list[float]:
        """The scores of one prediction as ``/predict`` answers it."""
        if not self._spec.classes:
            name = "withheld" if answer.get("value") is None and "withheld" in answer else "value"
            return [self._number((*where, name), answer.get(name), errors)]
        found = answer.get("probabilities")
        if not isinstance(found, dict):
            errors.append(_error((*where, "probabilities"), f"expected an object, found {kind_of(found)}"))
            return [math.nan] * self._spec.outputs
        return [
            self._number((*where, "probabilities", name), found.get(name), errors)
            for name in self._spec.classes
        ]

    def _answer(self, given: Mapping[str, Any], errors: Errors) -> list[tuple[str, Any]] | None:
        """The recorded scores of a row, each with the name of its field; None where it has none."""
        classes = self._spec.classes
        if not classes:
            name = next((name for name in ("value", "score") if given.get(name) is not None), None)
            return None if name is None else [(name, given[name])]
        by_class = given.get("probabilities")
        if isinstance(by_class, dict):
            return [(f"probabilities.{name}", by_class.get(name)) for name in classes]
        if by_class is not None:
            errors.append(_error(("probabilities",), f"expected an object, found {kind_of(by_class)}"))
            return None
        columns = [(f"p:{name}", given.get(f"p:{name}")) for name in classes]
        if any(value is not None for _, value in columns):
            return columns
        score = given.get("score")
        if score is None:
            return None
        return [("score", _complement(score)), ("score", score)]

    def _labels(self, given: Any, rows: int, errors: Errors) -> NDArray[np.float64]:
        labels = np.full(rows, math.nan)
        if given is None:
            return labels
        if not isinstance(given, list) or len(given) != rows:
            errors.append(_error(("labels",), f"expected an array of {rows}, one for each instance"))
            return labels
        wrong = misfits(self._spec.task, self._spec.classes, given)
        errors += [_error(("labels", index), expected) for index, expected in wrong]
        if not wrong:
            labels[:] = [self._code(label) for label in given]
        return labels

    def _truth(self, label: Any, *, text: bool, errors: Errors) -> float:
        """The label of a row; in tables a class may be told as a number."""
        if self._spec.classes and label is not None:
            label = str(label)
        elif text and label is not None:
            label = _decimal(label)
        wrong = misfits(self._spec.task, self._spec.classes, [label])
        if wrong:
            errors.append(_error((self._label,), f"{wrong[0][1]}, found {str(label)[:100]!r}"))
            return math.nan
        return self._code(label)

    def _code(self, label: str | float | None) -> float:
        if label is None:
            return math.nan
        return float(self._spec.classes.index(str(label))) if self._spec.classes else float(label)

    def _by_another(self, model: Any) -> bool:
        """Whether the recorded answers are not this model's."""
        if not isinstance(model, dict):
            return False
        return (model.get("name"), model.get("version")) != (self._spec.name, self._spec.version)

    def _number(self, loc: Sequence[str | int], value: Any, errors: Errors, *, text: bool = False) -> float:
        if text and isinstance(value, str):
            value = _decimal(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        found = repr(value[:100]) if isinstance(value, str) else kind_of(value)
        errors.append(_error(loc, f"expected a finite number, found {found}"))
        return math.nan

    def _leave_out(self, names: set[str]) -> None:
        if names and len(self.left_out) < MOST_NAMES:
            self.left_out |= set(sorted(name[:100] for name in names)[: MOST_NAMES - len(self.left_out)])


def _typed(feature: Feature, cell: str) -> Any:
    """A cell of a table of text as JSON would have it; what is no number is left for others to refuse."""
    if cell in feature.categories:
        return cell
    if cell.strip().lower() in MISSING_WORDS:
        return None
    return cell if feature.type == "string" else _decimal(cell)


def _decimal(cell: str) -> Any:
    for kind in (int, float):
        try:
            return kind(cell) if "_" not in cell else cell
        except ValueError:
            continue
    return cell


def _complement(score: Any) -> Any:
    """What is left for the other class; what is no number is left for others to refuse."""
    number = _decimal(score) if isinstance(score, str) else score
    return 1 - number if isinstance(number, int | float) and not isinstance(number, bool) else score


def _name(fields: Mapping[str, Any]) -> str | None:
    name = fields.get("request_id")
    return name if isinstance(name, str) else None


def _error(loc: Sequence[str | int], message: str) -> dict[str, Any]:
    return {"loc": list(loc), "msg": message}
