"""``/v1``: KServe's first protocol, rows in and predictions out as ``/predict`` has them."""

from __future__ import annotations

from typing import Any

import msgspec

from service.http.codec import UNREADABLE, Encoded, Head, ask
from service.http.instances import InstanceReader
from service.http.native import JSON, encode_predictions
from service.paths.predict import Answer, Question

FIELDS = frozenset({"instances"})


class KServeCodec:
    """Reads and writes ``/v1/models/{model}:predict``; ids and routing keys come in headers."""

    def __init__(self, reader: InstanceReader) -> None:
        self._reader = reader
        body = msgspec.defstruct(
            "KServeRequest",
            [("instances", list[reader.type])],  # type: ignore[name-defined]  # a type made from data
            forbid_unknown_fields=True,
        )
        self._decode = msgspec.json.Decoder(body).decode

    def decode(self, body: bytes, head: Head) -> Question:
        """The validated question; raises ``Problem``."""
        try:
            request: Any = self._decode(body)
        except UNREADABLE:
            return ask(head, self._reader.diagnose(body, FIELDS)["instances"], None, None)
        return ask(head, self._reader.rows(request.instances), None, None)

    def encode(self, answer: Answer, question: Question) -> Encoded:  # noqa: ARG002 - a Codec's signature
        """The response; its body has no room for the request id and the arm, so headers say them."""
        headers = ((b"x-request-id", answer.request_id.encode()), (b"x-model-arm", answer.arm.encode()))
        return Encoded(b'{"predictions":[%b]}' % encode_predictions(answer), JSON, headers)


def models(names: tuple[str, ...]) -> dict[str, list[str]]:
    """The document at ``/v1/models``."""
    return {"models": list(names)}


def model(name: str, ready: bool) -> dict[str, Any]:
    """The document at ``/v1/models/{model}``."""
    return {"name": name, "ready": ready}
