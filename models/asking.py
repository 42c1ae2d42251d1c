"""A bundle's graph asked about many rows, the same on every machine."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from models.bundle import Bundle
from service.adapters.onnx import OnnxModel
from service.domain.schema import FeatureBatch, Scores

CPU = ("CPUExecutionProvider",)
ROWS_PER_RUN = 8192
"""More rows than this are asked in several runs, which bounds the memory."""


class Predicts(Protocol):
    """Answers canonical rows, as ``OnnxModel`` does."""

    def predict(self, batch: FeatureBatch) -> Scores: ...


def on_cpu(bundle: Bundle) -> OnnxModel:
    """Its model, where packaging runs it; a server may have another provider."""
    return OnnxModel(bundle.model_path, bundle.spec, bundle.binding, providers=CPU)


def answers(model: Predicts, rows: FeatureBatch) -> Scores:
    """Scores of all rows, [rows, outputs]; there must be one at least.

    Raises:
        InferenceError: see ``OnnxModel.predict``.
    """
    starts = range(0, len(rows), ROWS_PER_RUN)
    return np.concatenate([model.predict(rows[start : start + ROWS_PER_RUN]) for start in starts])
