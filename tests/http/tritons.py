"""Requests and responses of the Open Inference Protocol, by hand and as tritonclient makes them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import np_to_triton_dtype

from service.domain.schema import Feature
from service.http.codec import Encoded, Head
from tests.http.fakes import head


def tensor(name: str, values: Any, datatype: str = "FP32", shape: list[int] | None = None) -> dict[str, Any]:
    """An input as JSON."""
    return {"name": name, "shape": shape or list(np.shape(values)), "datatype": datatype, "data": values}


def body_of(*inputs: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"inputs": inputs, **more}).encode()


def raw(*inputs: tuple[dict[str, Any], bytes], **more: Any) -> tuple[bytes, Head]:
    """A request whose tensors are raw bytes, and its headers."""
    described = [
        {name: value for name, value in entry.items() if name != "data"}
        | {"parameters": {"binary_data_size": len(data)}}
        for entry, data in inputs
    ]
    text = body_of(*described, **more)
    return text + b"".join(data for _, data in inputs), head(inference_header_content_length=len(text))


def as_array(feature: Feature, values: list[Any]) -> np.ndarray:
    """One feature's values as a client holds them; a missing word is the empty string."""
    if feature.type == "string":
        return np.array([[value or ""] for value in values], dtype=object)
    dtype = np.int64 if feature.type == "int64" else np.float32
    return np.array([[np.nan if value is None else value] for value in values], dtype=dtype)


def by_client(
    arrays: dict[str, np.ndarray],
    binary: bool,
    outputs: list[InferRequestedOutput] | None = None,
    **more: Any,
) -> tuple[bytes, Head]:
    """The request that tritonclient would send."""
    inputs = []
    for name, array in arrays.items():
        given = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        inputs.append(given.set_data_from_numpy(array, binary_data=binary))
    body, size = InferenceServerClient.generate_request_body(inputs, outputs, **more)
    return body, head() if size is None else head(inference_header_content_length=size)


def by_result(encoded: Encoded) -> InferResult:
    """The response as tritonclient reads it."""
    length = dict(encoded.headers).get(b"inference-header-content-length")
    assert encoded.content_type == (b"application/json" if length is None else b"application/octet-stream")
    return InferenceServerClient.parse_response_body(
        encoded.body, header_length=None if length is None else int(length)
    )


GOOD = tensor("x", [[1, 2, 3]])
