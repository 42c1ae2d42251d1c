"""``/explain``, ``/explain/compare`` and KServe's ``:explain``: why, and no traffic of the model's."""

from __future__ import annotations

from typing import Any, get_args

import orjson

from service.domain.explainers.document import Form
from service.domain.observation import Arm
from service.domain.pictures import CONTENT_SECURITY_POLICY
from service.domain.schema import ModelSpec
from service.http.codec import UNREADABLE, Encoded, Head, PerModel, ask
from service.http.expecting import with_warnings
from service.http.instances import InstanceReader, body_decoder
from service.http.native import JSON
from service.http.problem import does_not_fit
from service.http.wishes import WishReader, form_of
from service.paths.question import Answer, Question

FIELDS = frozenset({"instances", "explain", "request_id", "routing_key"})
COMPARE_FIELDS = frozenset({*FIELDS, "candidate"})
KSERVE_FIELDS = frozenset({"instances"})

SHEET_HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
)
"""A picture or a page shows what callers sent; it needs no scripts and loads nothing."""


class ExplainCodec:
    """Reads and writes explanations.

    Args:
        reader: of rows.
        wishes: of options.
        candidates: tags that production may be compared with; empty where this is not a comparison.
        kserve: whether the body holds instances alone, and ids come in headers.
    """

    def __init__(
        self,
        reader: InstanceReader,
        wishes: WishReader,
        *,
        candidates: tuple[str, ...] = (),
        kserve: bool = False,
    ) -> None:
        self._reader = reader
        self._wishes = wishes
        self._candidates = candidates
        self._fields = COMPARE_FIELDS if candidates else KSERVE_FIELDS if kserve else FIELDS
        fields: list[Any] = []
        if not kserve:
            fields += [("explain", Any, True), ("request_id", str | None, None)]
            fields += [("routing_key", str | None, None)]
        if candidates:
            fields += [("candidate", Any, None)]
        self._decode = body_decoder(reader.type, fields)
        self._kserve = kserve
        self._frames = PerModel(_frames)

    def decode(self, body: bytes, head: Head) -> Question:
        """The validated question; raises ``Problem``."""
        form = form_of(head.headers)
        try:
            request: Any = self._decode(body)
        except UNREADABLE:
            return self._decode_patiently(body, head, form)
        rows, warnings = self._reader.rows(request.instances, usual=False)
        if self._kserve:
            question = ask(head, rows, None, None)
            return question._replace(warnings=warnings, wish=self._wishes.read(True, form))
        question = ask(head, rows, request.request_id, request.routing_key)._replace(warnings=warnings)
        candidate = request.candidate if self._candidates else None
        return self._wishing(question, request.explain, candidate, form)

    def encode(self, answer: Answer, question: Question) -> Encoded:
        """The response."""
        headers = ((b"x-request-id", answer.request_id.encode()), (b"x-model-arm", answer.arm.encode()))
        if answer.sheet is not None:
            return Encoded(answer.sheet.body, answer.sheet.content_type, (*headers, *SHEET_HEADERS))
        explanations = b",".join(answer.explanations)
        if self._kserve:
            body = b'{"explanations":[%b]}' % explanations
        else:
            frame = self._frames(answer.model.spec)[answer.arm]
            body = frame % (orjson.dumps(answer.request_id), explanations)
        if question.warnings:
            body = with_warnings(body, question.warnings)
        return Encoded(body, JSON, headers if self._kserve else ())

    def _decode_patiently(self, body: bytes, head: Head, form: Form) -> Question:
        document = self._reader.diagnose(body, self._fields)
        errors = [
            {"loc": [name], "msg": "expected a string or null"}
            for name in ("request_id", "routing_key")
            if not isinstance(document.get(name), str | None)
        ]
        if errors:
            raise does_not_fit(errors)
        rows = document["instances"]
        question = ask(head, rows, document.get("request_id"), document.get("routing_key"))
        question = question._replace(warnings=self._reader.warnings(rows))
        return self._wishing(question, document.get("explain", True), document.get("candidate"), form)

    def _wishing(self, question: Question, explain: Any, candidate: Any, form: Form) -> Question:
        wish = self._wishes.read(explain, form)
        if wish is None:
            raise does_not_fit([{"loc": ["explain"], "msg": "expected true or an object of options"}])
        if not self._candidates:
            return question._replace(wish=wish)
        if question.arm == "canary":
            raise does_not_fit([{"loc": ["X-Model-Arm"], "msg": "a comparison is of production's answer"}])
        asked = {"output": wish.ask.output, "label": wish.ask.label, "neighbours": wish.neighbours or None}
        errors = [
            {"loc": ["explain", name], "msg": "not offered for comparisons"}
            for name, value in asked.items()
            if value is not None
        ]
        if errors:
            raise does_not_fit(errors)
        if form in ("svg", "png"):
            message = "a comparison is written as application/json or text/html"
            raise does_not_fit([{"loc": ["accept"], "msg": message}])
        against = self._candidates[0] if candidate is None else candidate
        if against not in self._candidates:
            known = ", ".join(self._candidates)
            raise does_not_fit([{"loc": ["candidate"], "msg": f"expected one of {known}"}])
        return question._replace(wish=wish._replace(against=against), arm="production")


def _frames(spec: ModelSpec) -> dict[Arm, bytes]:
    """For each arm, a response with places for its id and its explanations."""
    frames: dict[Arm, bytes] = {}
    for arm in get_args(Arm):
        model = orjson.dumps({"name": spec.name, "version": spec.version, "arm": arm})
        frames[arm] = b'{"request_id":%b,"model":' + model.replace(b"%", b"%%") + b',"explanations":[%b]}'
    return frames
