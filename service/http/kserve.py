"""``/v1``: KServe's first protocol, rows in and predictions out as ``/predict`` has them."""

from __future__ import annotations

from typing import Any

from service.domain.schema import FeatureBatch
from service.http.codec import UNREADABLE, Encoded, Head, ask
from service.http.expecting import with_warnings
from service.http.instances import InstanceReader, body_decoder
from service.http.native import JSON, encode_predictions
from service.paths.question import Answer, Question

FIELDS = frozenset({"instances"})


class KServeCodec:
    """Reads and writes ``/v1/models/{model}:predict``; ids and routing keys come in headers."""

    def __init__(self, reader: InstanceReader) -> None:
        self._reader = reader
        self._decode = body_decoder(reader.usual)
        self._decode_any = body_decoder(reader.type)

    def decode(self, body: bytes, head: Head) -> Question:
        """The validated question; raises ``Problem``."""
        try:
            request: Any = self._decode(body)
        except UNREADABLE:
            rows, warnings = self._unusual_rows(body)
        else:
            rows, warnings = self._reader.rows(request.instances, usual=True)
        question = ask(head, rows, None, None)
        return question._replace(warnings=warnings) if warnings else question

    def encode(self, answer: Answer, question: Question) -> Encoded:
        """The response; its body has no room for the request id and the arm, so headers say them."""
        headers = ((b"x-request-id", answer.request_id.encode()), (b"x-model-arm", answer.arm.encode()))
        body = b'{"predictions":[%b]}' % encode_predictions(answer)
        return Encoded(with_warnings(body, question.warnings) if question.warnings else body, JSON, headers)

    def _unusual_rows(self, body: bytes) -> tuple[FeatureBatch, bytes]:
        """The rows of a body with a row unlike training's, if that is all that is wrong; and the warnings."""
        try:
            request: Any = self._decode_any(body)
        except UNREADABLE:
            rows = self._reader.diagnose(body, FIELDS)["instances"]
            return rows, self._reader.warnings(rows)
        return self._reader.rows(request.instances, usual=False)


def models(names: tuple[str, ...]) -> dict[str, list[str]]:
    """The document at ``/v1/models``."""
    return {"models": list(names)}


def model(name: str, ready: bool) -> dict[str, Any]:
    """The document at ``/v1/models/{model}``."""
    return {"name": name, "ready": ready}
