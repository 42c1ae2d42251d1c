"""``POST /predict``: the service's own JSON."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import orjson

from service.domain.observation import Arm
from service.domain.schema import ModelSpec, Scores
from service.http.codec import UNREADABLE, Encoded, Head, PerModel, ask
from service.http.instances import InstanceReader
from service.http.problem import does_not_fit
from service.http.wishes import WishReader
from service.paths.predict import Answer, Question

FIELDS = frozenset({"instances", "explain", "uncertainty", "request_id", "routing_key"})
PLAIN_FIELDS = frozenset({"instances", "request_id", "routing_key"})
BULK = 4096
"""Bytes of a body from which on many numbers are worth a decoder of their own."""
JSON = b"application/json"
NO_UNCERTAINTY = "this version of the service states no uncertainty yet; send false or leave it out"


class NativeCodec:
    """Reads and writes ``/predict``; everything that depends on the model alone is made at load."""

    def __init__(self, reader: InstanceReader, wishes: WishReader) -> None:
        self._reader = reader
        self._wishes = wishes
        body = msgspec.defstruct(
            "PredictRequest",
            [
                ("instances", list[reader.type]),  # type: ignore[name-defined]  # a type made from data
                ("explain", Any, False),
                ("uncertainty", Any, False),
                ("request_id", str | None, None),
                ("routing_key", str | None, None),
            ],
            forbid_unknown_fields=True,
        )
        self._decode = msgspec.json.Decoder(body).decode
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
            return self._decode_patiently(body, head)
        question = ask(head, self._reader.rows(request.instances), request.request_id, request.routing_key)
        if request.explain is not False or request.uncertainty is not False:
            return self._with_offers(question, request.explain, request.uncertainty)
        return question

    def encode(self, answer: Answer, question: Question) -> Encoded:  # noqa: ARG002 - a Codec's signature
        """The response; ``question`` is not needed."""
        frame = self._frames(answer.model.spec)[answer.arm]
        return Encoded(frame % (orjson.dumps(answer.request_id), encode_predictions(answer)), JSON)

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
        rows = self._reader.plain_rows(document.get("instances"))
        ids = document.get("request_id"), document.get("routing_key")
        if rows is None or not isinstance(ids[0], str | None) or not isinstance(ids[1], str | None):
            return None
        return ask(head, rows, *ids)

    def _decode_patiently(self, body: bytes, head: Head) -> Question:
        document = self._reader.diagnose(body, FIELDS)
        errors = [
            {"loc": [name], "msg": "expected a string or null"}
            for name in ("request_id", "routing_key")
            if not isinstance(document.get(name), str | None)
        ]
        if errors:
            raise does_not_fit(errors)
        question = ask(head, document["instances"], document.get("request_id"), document.get("routing_key"))
        return self._with_offers(question, document.get("explain"), document.get("uncertainty"))

    def _with_offers(self, question: Question, explain: Any, uncertainty: Any) -> Question:
        """The question with what is asked for beside the predictions."""
        if uncertainty is not None and uncertainty is not False:
            raise does_not_fit([{"loc": ["uncertainty"], "msg": NO_UNCERTAINTY}])
        return question._replace(wish=self._wishes.read(explain))


def encode_predictions(answer: Answer) -> bytes:
    """The predictions as comma-separated JSON objects.

    Scores are written as the shortest decimals that read back as the same float32.
    """
    templates = _templates(answer.model.spec)
    numbers = _decimals(answer.scores)
    if answer.model.spec.classes:
        width = answer.scores.shape[1]
        if len(answer.labels) == 1 and not answer.explanations:
            return templates[answer.labels[0]] % tuple(numbers)
        rows = zip(*[iter(numbers)] * width, strict=True)
        written = [templates[label] % row for label, row in zip(answer.labels, rows, strict=True)]
    else:
        written = [templates[0] % number for number in numbers]
    if answer.explanations:
        pairs = zip(written, answer.explanations, strict=True)
        written = [b'%b,"explanation":%b}' % (row[:-1], why) for row, why in pairs]
    return b",".join(written)


def _decimals(scores: Scores) -> list[bytes]:
    text = orjson.dumps(scores.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)
    return text[1:-1].split(b",")


def _make_templates(spec: ModelSpec) -> list[bytes]:
    """For each label, a prediction with a place for each score."""
    if not spec.classes:
        return [b'{"value":%b}']
    names = [orjson.dumps(name).replace(b"%", b"%%") for name in spec.classes]
    probabilities = b",".join(name + b":%b" for name in names)
    return [b'{"label":%b,"probabilities":{%b}}' % (name, probabilities) for name in names]


_templates = PerModel(_make_templates)


def _frames(spec: ModelSpec) -> dict[Arm, bytes]:
    """For each arm, a response with places for its id and its predictions."""
    frames: dict[Arm, bytes] = {}
    for arm in get_args(Arm):
        model = orjson.dumps({"name": spec.name, "version": spec.version, "arm": arm})
        frames[arm] = b'{"request_id":%b,"model":' + model.replace(b"%", b"%%") + b',"predictions":[%b]}'
    return frames
