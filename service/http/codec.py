"""What every protocol does the same way: headers, request ids, and the shape of a codec."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from service.domain.observation import Arm
from service.domain.schema import FeatureBatch, ModelSpec
from service.http.problem import Problem
from service.paths.question import Answer, Question

Headers: TypeAlias = Mapping[bytes, bytes]
"""Lower-case header names to values, as ASGI gives them."""

UNREADABLE = (ValueError, RecursionError)
"""What a fast decoder raises: msgspec's own errors, bytes that are not UTF-8, endless nesting."""
LONGEST_ID = 128
"""Characters of a request id or a routing key."""
KEPT_MODELS = 16
"""A ``PerModel`` starts over at so many; production and its canaries are far fewer at a time."""

T = TypeVar("T")


class Head(NamedTuple):
    """A request without its body."""

    headers: Headers
    arm: Arm | None
    """The arm an authorised operator asked for."""
    start: float
    """``time.monotonic()`` seconds at which the body was complete."""


class Encoded(NamedTuple):
    """A response's body and what describes it."""

    body: bytes
    content_type: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Codec(Protocol):
    """One protocol of one route: bytes to a question, an answer to bytes."""

    def decode(self, body: bytes, head: Head) -> Question:
        """The validated question; raises ``Problem``."""

    def encode(self, answer: Answer, question: Question) -> Encoded:
        """The response."""


class PerModel(Generic[T]):
    """What depends on a model alone, made when the model first answers.

    Models are told apart by identity, because hashing a spec takes longer than writing an answer.
    Only specs are kept, so that a canary that was replaced is not held in memory by its templates.
    """

    def __init__(self, make: Callable[[ModelSpec], T]) -> None:
        self._make = make
        self._made: dict[int, tuple[ModelSpec, T]] = {}

    def __call__(self, spec: ModelSpec) -> T:
        """What was made for ``spec``."""
        made = self._made.get(id(spec))
        if made is None:
            if len(self._made) >= KEPT_MODELS:
                self._made.clear()
            made = self._made[id(spec)] = (spec, self._make(spec))
        return made[1]


def read_json(body: bytes | memoryview) -> Any:
    """The document, read by Python's own slow reader, which knows NaN and infinities.

    Raises:
        Problem: 400, the body is not UTF-8 or not JSON, or spells half of a surrogate pair.
    """
    try:
        document = json.loads(str(body, "utf-8"))
        if b"\\u" in bytes(body):
            json.dumps(document, ensure_ascii=False).encode()  # raises where an answer could not repeat it
        return document
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"the body is not JSON: {error}") from error


def new_request_id() -> str:
    """128 random bits in hexadecimal."""
    return os.urandom(16).hex()


def request_id_of(headers: Headers) -> str:
    """The caller's ``X-Request-Id``, or a new one; for answers that never get to a codec."""
    try:
        return identifier("X-Request-Id", text_of(headers.get(b"x-request-id"))) or new_request_id()
    except Problem:
        return new_request_id()


def text_of(value: bytes | None) -> str | None:
    """A header's text."""
    return None if value is None else value.decode("latin-1")


def identifier(name: str, value: str | None) -> str | None:
    """``value`` where it may serve as an id.

    Raises:
        Problem: 422, it is empty, too long, or has characters that do not print.
    """
    if value is None or (0 < len(value) <= LONGEST_ID and value.isascii() and value.isprintable()):
        return value
    message = f"expected 1 to {LONGEST_ID} printable ASCII characters"
    raise Problem(422, f"{name}: {message}", [{"loc": [name], "msg": message}])


def ask(head: Head, rows: FeatureBatch, request_id: str | None, routing_key: str | None) -> Question:
    """A question about ``rows``; ids in the body win over ids in the headers.

    Raises:
        Problem: 422, an id cannot serve as one.
    """
    headers = head.headers
    if request_id is None and b"x-request-id" in headers:
        request_id = text_of(headers[b"x-request-id"])
    if routing_key is None and b"x-routing-key" in headers:
        routing_key = text_of(headers[b"x-routing-key"])
    if request_id is None:
        request_id = new_request_id()
    else:
        identifier("request_id", request_id)
    if routing_key is not None:
        identifier("routing_key", routing_key)
    return Question(request_id, rows, routing_key, head.arm, head.start)
