"""``/v2``: the Open Inference Protocol with its binary tensor extension.

A body is JSON, or JSON of ``Inference-Header-Content-Length`` bytes with raw tensors behind it. A
model answers ``label`` and ``probabilities``, or ``value`` for a regression.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, TypeAlias, get_args

import msgspec
import orjson

from service.domain.abstention import REASONS, reason_of
from service.domain.expectations import Expectations
from service.domain.observation import Arm
from service.domain.schema import Binding, ModelSpec
from service.http import v2_wire
from service.http.codec import UNREADABLE, Encoded, Head, Headers, PerModel, ask, read_json
from service.http.expecting import Violated
from service.http.instances import LONGEST_NAME
from service.http.problem import Problem, does_not_fit
from service.http.v2_tensors import TensorReader, default_inputs
from service.http.v2_wire import Tensor
from service.paths.question import Answer, Question

JSON, BINARY = b"application/json", b"application/octet-stream"
CONTENT_TYPES = frozenset({b"", JSON, BINARY})
"""Clients that send raw tensors name ``application/octet-stream``, or nothing."""
JSON_LENGTH = b"inference-header-content-length"
EXTENSIONS = ("binary_tensor_data",)
PLATFORM = "onnxruntime_onnx"

Format: TypeAlias = tuple[tuple[str, bool], ...]
"""The wanted outputs in order, and whether each is wanted as raw bytes."""


class _RequestParameters(msgspec.Struct):
    binary_data_output: bool = False
    routing_key: str | None = None


class _OutputParameters(msgspec.Struct):
    binary_data: bool | None = None
    classification: Any = None
    shared_memory_region: Any = None


class _Output(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    parameters: _OutputParameters | None = None


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[Tensor]
    id: str | None = None
    parameters: _RequestParameters | None = None
    outputs: list[_Output] | None = None


class V2Codec:
    """Reads and writes ``/v2/models/{model}/infer``.

    Args:
        spec: production's; every model that may answer takes and answers the same.
        binding: names the graph's input.
        max_rows: more are refused with 413.
        violated: counts refused values, and those that are answered with a warning.
        arm: who answers whatever the rollout says, for a path that names a version.
        abstains: whether some answers may name no label.
        expectations: of the rows, beyond the schema.
    """

    def __init__(
        self,
        spec: ModelSpec,
        binding: Binding,
        max_rows: int,
        violated: Violated,
        arm: Arm | None = None,
        *,
        abstains: bool = False,
        expectations: Expectations = (),
    ) -> None:
        self._reader = TensorReader(spec.schema, binding, max_rows, violated, expectations)
        self._arm = arm
        self._decode = msgspec.json.Decoder(_Request).decode
        self._outputs = tuple(output["name"] for output in outputs(spec, abstains))
        self._all: dict[bool, Format] = {
            binary: tuple((name, binary) for name in self._outputs) for binary in (False, True)
        }
        self._templates = PerModel(_Templates.of)

    def decode(self, body: bytes, head: Head) -> Question:
        """The validated question; raises ``Problem``."""
        whole = memoryview(body)
        length = _json_length(head.headers, len(body))
        try:
            request = self._decode(whole[:length])
        except UNREADABLE:
            request = _decode_patiently(whole[:length])
        parameters = request.parameters or _RequestParameters()
        wanted = self._all[parameters.binary_data_output]
        if request.outputs:
            wanted = self._choose(request.outputs, parameters.binary_data_output)
        rows, warnings = self._reader.rows(request.inputs, whole[length:])
        if 2 * rows.nbytes < len(body) and not rows.flags.owndata:
            rows = rows.copy()  # rows wait for the shadow, and a view would keep the whole body waiting
        if self._arm is not None:
            if head.arm not in (None, self._arm):
                raise Problem(409, f"X-Model-Arm: the version in the path is {self._arm}'s")
            head = head._replace(arm=self._arm)
        question = ask(head, rows, request.id, parameters.routing_key)
        return question._replace(format=wanted, warnings=warnings)

    def encode(self, answer: Answer, question: Question) -> Encoded:
        """The response, its tensors as ``decode`` found them wanted."""
        wanted: Any = question.format  # ours: only decode makes questions for this codec
        templates = self._templates(answer.model.spec)
        texts: list[bytes] = []
        tensors: list[bytes] = []
        for name, binary in wanted:
            texts.append(_write(name, binary, answer, templates, tensors))
        frame = templates.frames[answer.arm]
        warnings = _warnings(question.warnings) if question.warnings else b""
        text = frame % (warnings, orjson.dumps(answer.request_id), b",".join(texts))
        if not tensors:
            return Encoded(text, JSON)
        return Encoded(b"".join([text, *tensors]), BINARY, ((JSON_LENGTH, b"%d" % len(text)),))

    def _choose(self, asked: list[_Output], binary: bool) -> Format:
        wanted: dict[str, bool] = {}
        for output in asked:
            parameters = output.parameters or _OutputParameters()
            if output.name not in self._outputs:
                raise _unfit(output, f"unknown output; there are {', '.join(self._outputs)}")
            if output.name in wanted:
                raise _unfit(output, "asked for twice")
            if parameters.classification is not None:
                raise _unfit(output, "classification is not offered; ask for label")
            if parameters.shared_memory_region is not None:
                raise _unfit(output, "shared memory is not offered; the answer comes in the response")
            wanted[output.name] = binary if parameters.binary_data is None else parameters.binary_data
        return tuple(wanted.items())


class _Templates(NamedTuple):
    """What one model's responses have in common."""

    frames: dict[Arm, bytes]
    """A response with places for more parameters, its id and its outputs."""
    words: list[bytes]
    """Each class as JSON, and "" for each reason to name none."""
    packed: list[bytes]
    """The same as elements of a raw tensor."""

    @classmethod
    def of(cls, spec: ModelSpec) -> _Templates:
        frames: dict[Arm, bytes] = {}
        for arm in get_args(Arm):
            model = {"model_name": spec.name, "model_version": spec.version, "parameters": {"arm": arm}}
            frames[arm] = orjson.dumps(model)[:-2].replace(b"%", b"%%") + b'%b},"id":%b,"outputs":[%b]}'
        names = [*spec.classes, *[""] * len(REASONS)] if spec.classes else []
        words = [orjson.dumps(name) for name in names]
        return cls(frames, words, [v2_wire.pack([name.encode()]) for name in names])


def outputs(spec: ModelSpec, abstains: bool = False) -> list[dict[str, Any]]:
    """The outputs as a model's metadata lists them, -1 for the number of rows."""
    found: list[dict[str, Any]] = [{"name": "value", "datatype": "FP32", "shape": [-1]}]
    if spec.classes:
        found = [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(spec.classes)]},
        ]
    return [*found, {"name": "abstained", "datatype": "BYTES", "shape": [-1]}] if abstains else found


def server_metadata(version: str) -> dict[str, Any]:
    """The document at ``/v2``; ``version`` is the service's."""
    return {"name": "understudy", "version": version, "extensions": list(EXTENSIONS)}


def model_metadata(
    spec: ModelSpec, binding: Binding, versions: tuple[str, ...], abstains: bool = False
) -> dict[str, Any]:
    """The document at ``/v2/models/{model}``; ``versions`` are those that a path may name."""
    return {
        "name": spec.name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": default_inputs(spec.schema, binding),
        "outputs": outputs(spec, abstains),
    }


def server_live() -> dict[str, bool]:
    """The document at ``/v2/health/live``."""
    return {"live": True}


def server_ready(ready: bool) -> dict[str, bool]:
    """The document at ``/v2/health/ready``."""
    return {"ready": ready}


def model_ready(name: str, ready: bool) -> dict[str, Any]:
    """The document at ``/v2/models/{model}/ready``."""
    return {"name": name, "ready": ready}


def _write(name: str, binary: bool, answer: Answer, templates: _Templates, tensors: list[bytes]) -> bytes:
    """One output as JSON; its raw bytes, if wanted so, are added to ``tensors``."""
    scores = answer.scores
    rows = len(scores)
    if name == "label":
        datatype, shape = b"BYTES", b"%d" % rows
        words = templates.packed if binary else templates.words
        elements = [words[label] for label in answer.labels]
        data = b"".join(elements) if binary else b"[%b]" % b",".join(elements)
    elif name == "abstained":
        datatype, shape = b"BYTES", b"%d" % rows
        reasons = [reason_of(answer.model.spec, label) or "" for label in answer.labels]
        data = v2_wire.pack([reason.encode() for reason in reasons]) if binary else orjson.dumps(reasons)
    else:
        datatype = b"FP32"
        shape = b"%d" % rows if name == "value" else b"%d,%d" % (rows, scores.shape[1])
        data = scores.tobytes() if binary else orjson.dumps(scores.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)
    text = b'{"name":"%b","datatype":"%b","shape":[%b],' % (name.encode(), datatype, shape)
    if not binary:
        return b'%b"data":%b}' % (text, data)
    tensors.append(data)
    return b'%b"parameters":{"binary_data_size":%d}}' % (text, len(data))


def _warnings(warnings: bytes) -> bytes:
    """One more parameter; the protocol knows no lists there, so that it is a text."""
    return b',"warnings":' + orjson.dumps((b"[%b]" % warnings).decode())


def _json_length(headers: Headers, size: int) -> int:
    """How many bytes of the body are JSON."""
    given = headers.get(JSON_LENGTH)
    if given is None:
        return size
    if not given.isdigit() or len(given) > 18 or int(given) > size:
        text = given.decode("latin-1")[:LONGEST_NAME]
        raise Problem(400, f"Inference-Header-Content-Length: expected 0 to {size}, found {text!r}")
    return int(given)


def _decode_patiently(text: memoryview) -> _Request:
    """Reads JSON that the fast decoder refused: it has NaN in it, or is wrong somewhere."""
    document = read_json(text)
    try:
        return msgspec.convert(document, _Request)
    except RecursionError as error:
        raise Problem(400, "the body is nested too deep") from error
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        loc = [int(part) if part.isdigit() else part for part in re.findall(r"[\w-]+", path)]
        raise does_not_fit(
            [{"loc": _named(document, loc), "msg": message[:1].lower() + message[1:]}]
        ) from error


def _named(document: Any, loc: list[str | int]) -> list[str | int]:
    """The place with a tensor's name instead of its number, where it has one."""
    if len(loc) >= 2 and loc[0] in ("inputs", "outputs") and isinstance(loc[1], int):
        entry = document[loc[0]][loc[1]]
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            return [loc[0], entry["name"][:LONGEST_NAME], *loc[2:]]
    return loc


def _unfit(output: _Output, message: str) -> Problem:
    return does_not_fit([{"loc": ["outputs", output.name[:LONGEST_NAME]], "msg": message}])
