"""A BentoML service as its tutorial writes one: default settings, one API method, ONNX Runtime inside.

``PEER_BUNDLE`` names the bundle's folder. ``bentoml serve load_tests.peers.bentoml_default:Plain``.
"""

from __future__ import annotations

import os
from pathlib import Path

import bentoml
import numpy as np
import onnxruntime as ort
import yaml


@bentoml.service
class Plain:
    """Rows in, probabilities out."""

    def __init__(self) -> None:
        folder = Path(os.environ["PEER_BUNDLE"])
        manifest = yaml.safe_load((folder / "manifest.yaml").read_text(encoding="utf-8"))
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self._input, self._output = manifest["input"]["name"], manifest["output"]["name"]

    @bentoml.api  # type: ignore[untyped-decorator]  # BentoML publishes no type for it
    def predict(self, instances: np.ndarray) -> np.ndarray:
        """``instances`` [rows, features] → probabilities [rows, classes]."""
        rows = instances.astype(np.float32)
        scores: np.ndarray = self._session.run([self._output], {self._input: rows})[0]
        return scores
