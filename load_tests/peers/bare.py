"""The bare app: uvicorn, Starlette, orjson and ONNX Runtime, with nothing that a production service needs.

No validation, metrics, canary, shadow, request ids or limits. ``PEER_BUNDLE`` names the bundle's folder; the
requests and answers are those of the service's native route. ``python -m load_tests.peers.bare PORT``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson
import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Model:
    """A binary classifier with one float32 input tensor, and what its manifest says about it."""

    def __init__(self, folder: Path) -> None:
        manifest = yaml.safe_load((folder / "manifest.yaml").read_text(encoding="utf-8"))
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [manifest["output"]["name"]]
        self._input = manifest["input"]["name"]
        self._classes = tuple(manifest["classes"])
        self._threshold = manifest.get("threshold", 0.5)
        self._features = [
            (feature["name"], {word: code for code, word in enumerate(feature.get("categories", ()))})
            for feature in manifest["features"]
        ]

    def predict(self, instances: list[Any]) -> list[dict[str, Any]]:
        rows = instances
        if isinstance(instances[0], dict):
            rows = [
                [codes.get(row[name], np.nan) if codes else row[name] for name, codes in self._features]
                for row in instances
            ]
        batch = np.array(rows, dtype=np.float32)
        scores = self._session.run(self._outputs, {self._input: batch})[0].tolist()
        first, second = self._classes
        threshold = self._threshold
        return [
            {"label": second if b >= threshold else first, "probabilities": {first: a, second: b}}
            for a, b in scores
        ]


def app(model: Model) -> Starlette:
    async def predict(request: Request) -> Response:
        body = orjson.loads(await request.body())
        answer = orjson.dumps({"predictions": model.predict(body["instances"])})
        return Response(answer, media_type="application/json")

    async def ready(_: Request) -> Response:
        return Response()

    return Starlette(routes=[Route("/predict", predict, methods=["POST"]), Route("/readyz", ready)])


if __name__ == "__main__":
    uvicorn.run(
        app(Model(Path(os.environ["PEER_BUNDLE"]))),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
