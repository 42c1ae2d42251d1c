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
from service.paths.predict import Answer, Question

FIELDS = frozenset({"instances", "explain", "uncertainty", "request_id", "routing_key"})
JSON = b"application/json"
OFFERED_LATER = {
    "explain": "this version of the service explains nothing yet; send false or leave it out",
    "uncertainty": "this version of the service states no uncertainty yet; send false or leave it out",
}


class NativeCodec:
    """Reads and writes ``/predict``; everything that depends on the model alone is made at load."""

    def __init__(self, reader: InstanceReader) -> None:
        self._reader = reader
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
        try:
            request: Any = self._decode(body)
        except UNREADABLE:
            return self._decode_patiently(body, head)
        if request.explain or request.uncertainty:
            _refuse_offers(request.explain, request.uncertainty)
        return ask(head, self._reader.rows(request.instances), request.request_id, request.routing_key)

    def encode(self, answer: Answer, question: Question) -> Encoded:  # noqa: ARG002 - a Codec's signature
        """The response; ``question`` is not needed."""
        frame = self._frames(answer.model.spec)[answer.arm]
        return Encoded(frame % (orjson.dumps(answer.request_id), encode_predictions(answer)), JSON)

    def _decode_patiently(self, body: bytes, head: Head) -> Question:
        document = self._reader.diagnose(body, FIELDS)
        errors = [
            {"loc": [name], "msg": "expected a string or null"}
            for name in ("request_id", "routing_key")
            if not isinstance(document.get(name), str | None)
        ]
        if errors:
            raise does_not_fit(errors)
        _refuse_offers(document.get("explain"), document.get("uncertainty"))
        return ask(head, document["instances"], document.get("request_id"), document.get("routing_key"))


def encode_predictions(answer: Answer) -> bytes:
    """The predictions as comma-separated JSON objects.

    Scores are written as the shortest decimals that read back as the same float32.
    """
    templates = _templates(answer.model.spec)
    numbers = _decimals(answer.scores)
    if answer.model.spec.classes:
        width = answer.scores.shape[1]
        if len(answer.labels) == 1:
            return templates[answer.labels[0]] % tuple(numbers)
        rows = zip(*[iter(numbers)] * width, strict=True)
        return b",".join([templates[label] % row for label, row in zip(answer.labels, rows, strict=True)])
    return b",".join([templates[0] % number for number in numbers])


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


def _refuse_offers(explain: Any, uncertainty: Any) -> None:
    wanted = {"explain": explain, "uncertainty": uncertainty}
    errors = [{"loc": [name], "msg": OFFERED_LATER[name]} for name, value in wanted.items() if value]
    if errors:
        raise does_not_fit(errors)
