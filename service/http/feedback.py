"""``POST /feedback``: what turned out to be true of the rows of an answered request."""

from __future__ import annotations

from typing import Any

import orjson

from service.domain.labels import Label, LabelConflict, LabelCount, misfits
from service.domain.schema import ModelSpec
from service.errors import StoreError
from service.http.codec import identifier, read_json
from service.http.edge import Reply
from service.http.problem import Problem, does_not_fit, overloaded
from service.paths.feedback import FeedbackPath

FIELDS = ("request_id", "labels")


class FeedbackPage:
    """Reads the labels, has them filed, and says whether their answer is known.

    Args:
        spec: the production model, whose classes are the labels.
        max_rows: rows that a request may have.
        path: where they go.
    """

    def __init__(self, spec: ModelSpec, max_rows: int, path: FeedbackPath) -> None:
        self._spec = spec
        self._max_rows = max_rows
        self._path = path

    async def __call__(self, body: bytes) -> Reply:
        """202 for what is new and 200 for what is not; raises ``Problem``."""
        request_id, labels = self._read(body)
        try:
            filed = await self._path.take(request_id, labels)
        except LabelConflict as error:
            raise Problem(409, f"request {request_id}: {error}") from error
        except LabelCount as error:
            raise does_not_fit([{"loc": ["labels"], "msg": str(error)}]) from error
        except StoreError as error:
            raise overloaded("the labels could not be stored; send them again", retry_after=2) from error
        return Reply(orjson.dumps({"matched": filed.matched}), status=202 if filed.fresh else 200)

    def _read(self, body: bytes) -> tuple[str, tuple[Label, ...]]:
        document = read_json(body)
        if not isinstance(document, dict):
            raise does_not_fit([{"loc": [], "msg": "expected an object"}])
        errors: list[dict[str, Any]] = [
            {"loc": [name], "msg": "unknown field"} for name in document if name not in FIELDS
        ]
        errors += [{"loc": [name], "msg": "is missing"} for name in FIELDS if name not in document]
        request_id: Any = document.get("request_id")
        labels: Any = document.get("labels")
        if "request_id" in document and not isinstance(request_id, str):
            errors.append({"loc": ["request_id"], "msg": "expected a string"})
        if "labels" in document:
            errors += self._faults(labels)
        if errors:
            raise does_not_fit(errors)
        identifier("request_id", request_id)
        named = bool(self._spec.classes)
        return request_id, tuple(one if one is None or named else float(one) for one in labels)

    def _faults(self, labels: Any) -> list[dict[str, Any]]:
        if not isinstance(labels, list) or not 0 < len(labels) <= self._max_rows:
            return [{"loc": ["labels"], "msg": f"expected an array of 1 to {self._max_rows} labels"}]
        wrong = misfits(self._spec.task, self._spec.classes, labels)
        if wrong:
            return [{"loc": ["labels", index], "msg": expected} for index, expected in wrong]
        if all(label is None for label in labels):
            return [{"loc": ["labels"], "msg": "expected at least one label that is not null"}]
        return []
