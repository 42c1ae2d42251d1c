"""What a recipe hands to packaging, and what all recipes share."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from models.demo.measures import Measures
from models.manifest import Manifest, Training
from models.packaging import Material
from service.domain.uncertainty.measure import Graph

OPSETS = {"": 15, "ai.onnx.ml": 3}
"""Operator sets of every demo graph: old enough for every runtime in use, and one tree operator."""

GOLDEN_ROWS = 256


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained and converted model with the data to package it."""

    graph: bytes
    manifest: Manifest
    material: Material
    graphs: Mapping[Graph, bytes] = field(default_factory=dict)
    """Second graphs, which take what the model takes."""


Recipe = Callable[[], Trained]


def serialised(proto: Any, name: str) -> bytes:
    """An ONNX model's bytes under a fixed name and in a fixed order: converters take both at random."""
    proto.graph.name = name
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    del proto.opset_import[:]
    for domain in sorted(versions):
        proto.opset_import.add(domain=domain, version=versions[domain])
    return bytes(proto.SerializeToString(deterministic=True))


def from_sklearn(model: Any, width: int, **options: Any) -> Any:
    """The ONNX model of a scikit-learn model that takes float32 [rows, width]."""
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType

    return skl2onnx.convert_sklearn(
        model,
        initial_types=[("input", FloatTensorType([None, width]))],
        target_opset=OPSETS,
        options=options or None,
    )


def training_note(
    package: str, data: str, rows: int, measured: tuple[Measures, Measures], notes: str = ""
) -> Training:
    """Who trained a demo model, now, with the installed ``package``; ``measured`` ends with the baseline."""
    metrics, baseline = measured
    return Training(
        author="demo recipe",
        at=datetime.now(UTC).replace(microsecond=0),
        framework=f"{package} {importlib.metadata.version(package)}",
        data=data,
        rows=rows,
        metrics=metrics,
        baseline=baseline,
        notes=notes,
    )
