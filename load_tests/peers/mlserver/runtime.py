"""MLServer's custom runtime for an ONNX graph, Open Inference Protocol v2 as JSON.

Runs inside MLServer's own environment (``.venv-peers``); ``PEER_BUNDLE`` names the bundle's folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
import yaml
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxRuntime(MLModel):
    """Rows in, probabilities out."""

    async def load(self) -> bool:
        folder = Path(os.environ["PEER_BUNDLE"])
        manifest = yaml.safe_load((folder / "manifest.yaml").read_text(encoding="utf-8"))
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self._input, self._output = manifest["input"]["name"], manifest["output"]["name"]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32)
        scores = self._session.run([self._output], {self._input: rows})[0]
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output(self._output, scores)]
        )
