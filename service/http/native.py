"""``POST /predict``: the service's own JSON."""

from __future__ import annotations

from typing import Any, get_args

import orjson

from service.domain.abstention import REASONS
from service.domain.observation import Arm
from service.domain.schema import ModelSpec, Scores
from service.http.codec import UNREADABLE, Encoded, Head, PerModel, ask
from service.http.doubts import DoubtReader
from service.http.doubts_wire import encode_doubts
from service.http.expecting import with_warnings
from service.http.instances import InstanceReader, body_decoder
from service.http.problem import does_not_fit
from service.http.wishes import WishReader
from service.paths.question import Answer, Question

FIELDS = frozenset({"instances", "explain", "uncertainty", "request_id", "routing_key"})
PLAIN_FIELDS = frozenset({"instances", "request_id", "routing_key"})
BULK = 4096
"""Bytes of a body from which on many numbers are worth a decoder of their own."""
JSON = b"application/json"


class NativeCodec:
    """Reads and writes ``/predict``; everything that depends on the model alone is made at load."""

    def __init__(self, reader: InstanceReader, wishes: WishReader, doubts: DoubtReader) -> None:
        self._reader = reader
        self._wishes = wishes
        self._doubts = doubts
        fields: list[Any] = [("explain", Any, False), ("uncertainty", Any, None if doubts.always else False)]
        fields += [("request_id", str | None, None), ("routing_key", str | None, None)]
        self._decode = body_decoder(reader.usual, fields)
        self._decode_any = body_decoder(reader.type, fields)
        self._frames = PerModel(_frames)

    def decode(self, body: bytes, head: Head) -> Question:
        """The validated question; raises ``Problem``."""
        if len(body) > BULK and self._reader.plain:
            question = self._decode_numbers(body, head)
            if question is not None:
                return question
        try:
            request: Any = self._decode(body)
        except UNREADABLE:
            return self._decode_unusual(body, head)
        rows, warnings = self._reader.rows(request.instances, usual=True)
        question = ask(head, rows, request.request_id, request.routing_key)
        if warnings:
            question = question._replace(warnings=warnings)
        if request.explain is not False or request.uncertainty is not False:
            return self._with_offers(question, request.explain, request.uncertainty)
        return question

    def encode(self, answer: Answer, question: Question) -> Encoded:
        """The response."""
        frame = self._frames(answer.model.spec)[answer.arm]
        predictions = encode_predictions(answer, in_doubt=question.doubt is not None)
        body = frame % (orjson.dumps(answer.request_id), predictions)
        return Encoded(with_warnings(body, question.warnings) if question.warnings else body, JSON)

    def _decode_numbers(self, body: bytes, head: Head) -> Question | None:
        """The question of a body that holds nothing but arrays of numbers and ids, or None.

        A parser that knows no schema is faster at many numbers, and packing them shows their types, but for
        true and false.
        """
        start, end = body.find(b"["), body.rfind(b"]")
        if any(body.find(letter, start, end) >= 0 for letter in (b"t", b"f", b"n")):
            return None
        try:
            document = orjson.loads(body)
        except ValueError:
            return None
        if type(document) is not dict or not document.keys() <= PLAIN_FIELDS:
            return None
        read = self._reader.plain_rows(document.get("instances"))
        ids = document.get("request_id"), document.get("routing_key")
        if read is None or not isinstance(ids[0], str | None) or not isinstance(ids[1], str | None):
            return None
        rows, warnings = read
        question = ask(head, rows, *ids)
        if warnings:
            question = question._replace(warnings=warnings)
        return self._with_offers(question, False, None) if self._doubts.always else question

    def _decode_unusual(self, body: bytes, head: Head) -> Question:
        """The question of a body with a row unlike training's, if that is all that is wrong with it."""
        try:
            request: Any = self._decode_any(body)
        except UNREADABLE:
            return self._decode_patiently(body, head)
        rows, warnings = self._reader.rows(request.instances, usual=False)
        question = ask(head, rows, request.request_id, request.routing_key)._replace(warnings=warnings)
        return self._with_offers(question, request.explain, request.uncertainty)

    def _decode_patiently(self, body: bytes, head: Head) -> Question:
        document = self._reader.diagnose(body, FIELDS)
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
        return self._with_offers(question, document.get("explain"), document.get("uncertainty"))

    def _with_offers(self, question: Question, explain: Any, uncertainty: Any) -> Question:
        """The question with what is asked for beside the predictions."""
        return question._replace(wish=self._wishes.read(explain), doubt=self._doubts.read(uncertainty))


def encode_predictions(answer: Answer, *, in_doubt: bool = False) -> bytes:
    """The predictions as comma-separated JSON objects.

    Scores are written as the shortest decimals that read back as the same float32.

    Args:
        answer: to one request.
        in_doubt: whether it was asked how sure they are.
    """
    templates = _templates(answer.model.spec)
    numbers = _decimals(answer.scores)
    if answer.model.spec.classes:
        width = answer.scores.shape[1]
        if len(answer.labels) == 1 and not in_doubt and not answer.explanations:
            return templates[answer.labels[0]] % tuple(numbers)
        rows = zip(*[iter(numbers)] * width, strict=True)
        written = [templates[label] % row for label, row in zip(answer.labels, rows, strict=True)]
    else:
        written = [templates[label] % number for label, number in zip(answer.labels, numbers, strict=True)]
    if in_doubt:
        sure = answer.quantified
        doubts = [b"null"] * len(written) if sure is None else encode_doubts(answer.model.spec, sure)
        pairs = zip(written, doubts, strict=True)
        written = [b'%b,"uncertainty":%b}' % (row[:-1], doubt) for row, doubt in pairs]
    if answer.explanations:
        pairs = zip(written, answer.explanations, strict=True)
        written = [b'%b,"explanation":%b}' % (row[:-1], why) for row, why in pairs]
    return b",".join(written)


def _decimals(scores: Scores) -> list[bytes]:
    text = orjson.dumps(scores.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)
    return text[1:-1].split(b",")


def _make_templates(spec: ModelSpec) -> list[bytes]:
    """For each label, then for each reason to name none, a prediction with a place for each score."""
    reasons = [reason.encode() for reason in REASONS]
    if not spec.classes:
        return [
            b'{"value":%b}',
            *(b'{"value":null,"abstained":"%b","withheld":%%b}' % why for why in reasons),
        ]
    names = [orjson.dumps(name).replace(b"%", b"%%") for name in spec.classes]
    probabilities = b",".join(name + b":%b" for name in names)
    heads = [b'"label":%b' % name for name in names]
    heads += [b'"label":null,"abstained":"%b"' % why for why in reasons]
    return [b'{%b,"probabilities":{%b}}' % (head, probabilities) for head in heads]


_templates = PerModel(_make_templates)


def _frames(spec: ModelSpec) -> dict[Arm, bytes]:
    """For each arm, a response with places for its id and its predictions."""
    frames: dict[Arm, bytes] = {}
    for arm in get_args(Arm):
        model = orjson.dumps({"name": spec.name, "version": spec.version, "arm": arm})
        frames[arm] = b'{"request_id":%b,"model":' + model.replace(b"%", b"%%") + b',"predictions":[%b]}'
    return frames
