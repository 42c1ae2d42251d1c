"""Tiny bundles as a process has them in its hands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models.gate import parity
from models.packaging import package
from service.adapters.bundles import Loaded
from service.adapters.onnx import OnnxModel
from tests.models.graphs import affine, tiny

CPU = ("CPUExecutionProvider",)
RECONSTRUCTION = {"reconstruction": affine(np.ones((3, 1)), np.zeros(1))}


def tiny_bundle(
    folder: Path, *, version: str = "one", quantify: bool = True, graphs: Any = None, **uncertainty: Any
) -> Loaded:
    """A linear model of three features; ``uncertainty`` goes into its manifest."""
    small = tiny("tensor")
    entry = small.manifest.uncertainty.model_copy(update=uncertainty)
    manifest = small.manifest.model_copy(update={"version": version, "uncertainty": entry})
    rows = np.tile(small.material.calibration, (4, 1))
    material = replace(small.material, calibration=rows, labels=np.tile(small.material.labels, 4))
    bundle = package(
        small.graph, manifest, material, folder / version, graphs=graphs, explain=False, quantify=quantify
    )
    model = OnnxModel(bundle.model_path, bundle.spec, bundle.binding, providers=CPU)
    return Loaded(bundle, model, parity(bundle, model))
