"""The same rows in each contestant's words, and each contestant's answer back as numbers.

A codec turns rows into one prepared request, and an answer's bytes into the positive class's probability per
row, so that every contestant's answers can be held against ONNX Runtime's own before and after a run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import onnxruntime as ort
import yaml
from numpy.typing import NDArray

from load_tests.wire import Request, body_of, header_of, request, status_of

TOLERANCE = 2e-6
_JSON = {"Content-Type": "application/json"}

Probabilities = NDArray[np.float64]
"""[rows], of the positive class."""


class WrongAnswerError(RuntimeError):
    """A contestant answered something else than its model says."""


class Codec(Protocol):
    """One way to ask and to read the answer."""

    def request(self, instances: Sequence[Any]) -> Request: ...

    def probabilities(self, answer: bytes) -> Probabilities:
        """``answer`` is head and body; raises KeyError, ValueError or IndexError when it has another form."""
        ...


@dataclass(frozen=True, slots=True)
class Native:
    """``POST /predict`` as the service and the bare app take it."""

    positive: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self, instances: Sequence[Any]) -> Request:
        body = _compact({"instances": list(instances)})
        return request("POST", "/predict", body, {**_JSON, **self.headers}, b'"predictions"')

    def probabilities(self, answer: bytes) -> Probabilities:
        predictions = json.loads(body_of(answer))["predictions"]
        return np.array([each["probabilities"][self.positive] for each in predictions])


@dataclass(frozen=True, slots=True)
class Explained:
    """``POST /predict`` with ``"explain": true``, or ``POST /explain``, of a binary model, exactly.

    What is read as the answer is what the explanation says: the log-odds that its contributions add up to.
    """

    positive: str
    path: Literal["/predict", "/explain"] = "/predict"

    def request(self, instances: Sequence[Any]) -> Request:
        body = _compact({"instances": list(instances), "explain": True})
        return request("POST", self.path, body, _JSON, b'"exact":true')

    def probabilities(self, answer: bytes) -> Probabilities:
        document = json.loads(body_of(answer))
        if self.path == "/explain":
            return np.array([self._told(each) for each in document["explanations"]])
        predictions = document["predictions"]
        served = np.array([each["probabilities"][self.positive] for each in predictions])
        told = np.array([self._told(each["explanation"]) for each in predictions])
        if not _same(told, served):
            raise ValueError("the explanations do not add up to the probabilities beside them")
        return served

    def _told(self, explanation: Mapping[str, Any]) -> float:
        if not explanation["exact"] or (explanation["output"], explanation["label"]) != (
            "margin",
            self.positive,
        ):
            raise ValueError("not the exact log-odds of the positive class")
        margin = explanation["base_value"] + math.fsum(explanation["values"].values())
        return 1 / (1 + math.exp(-margin))


@dataclass(frozen=True, slots=True)
class Doubted:
    """``POST /predict`` with ``"uncertainty": true``, of a binary model."""

    positive: str

    def request(self, instances: Sequence[Any]) -> Request:
        body = _compact({"instances": list(instances), "uncertainty": True})
        return request("POST", "/predict", body, _JSON, b'"in_domain"')

    def probabilities(self, answer: bytes) -> Probabilities:
        predictions = json.loads(body_of(answer))["predictions"]
        for each in predictions:
            sure = each["uncertainty"]
            told = sum(sure["calibrated"].values())
            if not set(sure["set"]) <= set(each["probabilities"]) or not math.isclose(told, 1, rel_tol=1e-5):
                raise ValueError(f"no label set or no probabilities: {sure}")
        return np.array([each["probabilities"][self.positive] for each in predictions])


@dataclass(frozen=True, slots=True)
class BentoArray:
    """A BentoML API method that takes and returns an array."""

    def request(self, instances: Sequence[Any]) -> Request:
        return request("POST", "/predict", _compact({"instances": list(instances)}), _JSON, b"[[")

    def probabilities(self, answer: bytes) -> Probabilities:
        return np.array(json.loads(body_of(answer)), dtype=np.float64)[:, 1]


@dataclass(frozen=True, slots=True)
class V2Json:
    """Open Inference Protocol v2 with one input tensor as JSON."""

    model: str

    def request(self, instances: Sequence[Any]) -> Request:
        rows = np.array(instances, dtype=np.float64)
        tensor = {"name": "x", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
        body = _compact({"inputs": [tensor]})
        return request("POST", f"/v2/models/{self.model}/infer", body, _JSON, b'"outputs"')

    def probabilities(self, answer: bytes) -> Probabilities:
        (output,) = json.loads(body_of(answer))["outputs"]
        return np.array(output["data"], dtype=np.float64).reshape(output["shape"])[:, 1]


@dataclass(frozen=True, slots=True)
class V2Binary:
    """Open Inference Protocol v2 with one binary input tensor and binary outputs."""

    model: str
    tensor: str
    output: str

    def request(self, instances: Sequence[Any]) -> Request:
        rows = np.ascontiguousarray(instances, dtype="<f4")
        head = _compact(
            {
                "inputs": [
                    {
                        "name": self.tensor,
                        "shape": list(rows.shape),
                        "datatype": "FP32",
                        "parameters": {"binary_data_size": rows.nbytes},
                    }
                ],
                "outputs": [{"name": self.output, "parameters": {"binary_data": True}}],
            }
        )
        headers = {
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(head)),
        }
        return request("POST", f"/v2/models/{self.model}/infer", head + rows.tobytes(), headers, b'"outputs"')

    def probabilities(self, answer: bytes) -> Probabilities:
        body = body_of(answer)
        length = int(header_of(answer, "Inference-Header-Content-Length") or len(body))
        (output,) = json.loads(body[:length])["outputs"]
        kind = {"FP32": "<f4", "FP64": "<f8"}[output["datatype"]]
        scores = np.frombuffer(body[length:], kind).reshape(output["shape"])
        return scores[:, 1].astype(np.float64)


def reference(bundle: Path, rows: NDArray[np.float32]) -> Probabilities:
    """ONNX Runtime's own positive-class probabilities for canonical rows [rows, width] of a tensor model."""
    manifest = yaml.safe_load((bundle / "manifest.yaml").read_text(encoding="utf-8"))
    session = ort.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    scores = session.run([manifest["output"]["name"]], {manifest["input"]["name"]: rows})[0]
    return np.asarray(scores[:, 1], dtype=np.float64)


def check_answer(codec: Codec, answer: bytes, accepted: Sequence[Probabilities]) -> None:
    """Raises ``WrongAnswerError`` unless ``answer`` is a 200 with one of ``accepted`` to within 2e-6."""
    if status_of(answer) != 200:
        raise WrongAnswerError(f"status {status_of(answer)}: {body_of(answer)[:300]!r}")
    try:
        found = codec.probabilities(answer)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise WrongAnswerError(f"unreadable ({error!r}): {body_of(answer)[:300]!r}") from error
    if not any(_same(found, expected) for expected in accepted):
        raise WrongAnswerError(f"found {found[:3]} (shape {found.shape}), expected {accepted[0][:3]}")


def _same(found: Probabilities, expected: Probabilities) -> bool:
    return found.shape == expected.shape and np.allclose(found, expected, rtol=0, atol=TOLERANCE)


def _compact(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
