"""Errors as callers see them: RFC 9457 problem documents."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson

from service.errors import BusyError

CONTENT_TYPE = b"application/problem+json"
TOO_MANY_ERRORS = 50
"""A problem names at most so many single errors."""


class Problem(Exception):
    """An answer that is an error.

    Args:
        status: the HTTP status.
        detail: what is wrong with this request, in a sentence.
        errors: single errors: ``loc`` is the path to the value, ``msg`` what was expected.
        headers: additional response headers.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        errors: list[dict[str, Any]] | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors or []
        self.headers = headers

    def body(self, request_id: str) -> bytes:
        """The document as JSON."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
            "errors": self.errors[:TOO_MANY_ERRORS],
            "error": self.detail,  # where clients of the Open Inference Protocol and of KServe look
        }
        return orjson.dumps(document)


class Overloaded(Problem, BusyError):
    """503 for a reason of ours, which the log may name as well."""


def does_not_fit(errors: list[dict[str, Any]]) -> Problem:
    """422 with every single error; the first one is the detail."""
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Problem(422, f"{where}: {first['msg']}{more}" if where else f"{first['msg']}{more}", errors)


def overloaded(detail: str, retry_after: int = 1) -> Overloaded:
    """503 that says when to come back, in seconds."""
    return Overloaded(503, detail, headers=((b"retry-after", str(retry_after).encode()),))
