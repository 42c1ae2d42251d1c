"""The parity gate: a graph that does not answer as its model did in training is not served."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.bundle import Bundle
from models.canonical import output_names
from service.adapters.onnx import OnnxModel
from service.domain.parity import ParityReport, compare
from service.errors import InferenceError

SINGLES = 8
"""Golden rows that also go through the graph alone: batched and single rows must agree."""


def parity(bundle: Bundle, model: OnnxModel) -> ParityReport:
    """Holds the served graph against the training framework's answers for the golden rows.

    All rows in one batch, then ``SINGLES`` of them, spread evenly, one at a time.
    """
    inputs, outputs = bundle.golden()
    rule, names = bundle.manifest.parity, output_names(bundle.spec)
    try:
        together = model.predict(inputs)
        alone = together.copy()
        for row in np.unique(np.linspace(0, len(inputs) - 1, min(SINGLES, len(inputs))).astype(int)):
            alone[row] = model.predict(inputs[row : row + 1])[0]
    except InferenceError as error:
        return ParityReport(passed=False, rows=len(inputs), problem=f"golden rows cannot be served: {error}")
    report = compare(outputs, together, rule.absolute, rule.relative, names)
    if not report.passed:
        return report
    single = compare(outputs, alone, rule.absolute, rule.relative, names)
    if not single.passed:
        return replace(single, problem=f"served one row at a time: {single.describe()}")
    return report
