"""Makes a bundle of a graph and data, and refuses it unless it serves what was trained."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.behaviour import write_behaviour
from models.bundle import (
    BACKGROUND,
    CALIBRATION,
    GOLDEN,
    GRAPHS,
    MAX_BACKGROUND,
    MODEL,
    PARTS,
    REFERENCE,
    Bundle,
    file_digest,
    open_bundle,
)
from models.canonical import Labels
from models.expectations import expecting
from models.gate import parity
from models.manifest import MANIFEST_NAME, Manifest, write_manifest
from models.reference import summarise, write_reference
from service.adapters.onnx import OnnxModel
from service.adapters.quantities import quantifier_of
from service.domain.schema import FeatureBatch, ModelSpec
from service.domain.uncertainty.measure import Graph
from service.errors import BundleError, InferenceError

CPU = ("CPUExecutionProvider",)
MIN_CALIBRATION = 20
"""Fewer calibration rows than this say nothing about uncertainty at 0.9 and above."""


@dataclass(frozen=True, slots=True)
class Material:
    """The data a bundle is made of; rows are canonical, see ``models.canonical``."""

    reference: FeatureBatch
    """What training saw; [rows, width]."""
    calibration: FeatureBatch
    """Rows never used in training; [rows', width]."""
    labels: Labels
    """Of the calibration rows; [rows']."""
    golden: FeatureBatch
    """Rows whose outputs must be reproduced; [rows'', width]."""
    outputs: NDArray[np.floating[Any]]
    """The training framework's own outputs of the golden rows; [rows'', outputs]."""


def package(
    model: bytes | Path,
    manifest: Manifest,
    material: Material,
    directory: Path,
    *,
    graphs: Mapping[Graph, bytes] | None = None,
    explain: bool = True,
    quantify: bool = True,
    suite: Path | None = None,
    allow_failing: bool = False,
) -> Bundle:
    """Writes a bundle into ``directory``, which must not exist, and passes it through the parity gate.

    Args:
        model: an ONNX graph, or where one lies.
        manifest: the description; what training saw and digests are filled in here.
        material: the data.
        directory: the bundle to make.
        graphs: second graphs; one of ``members`` is made of the model itself where it can be.
        explain: whether to test the explanation methods on it and to compute its global views.
        quantify: whether to fit the measures of uncertainty.
        suite: where a behavioural suite lies that the model must pass, see ``models.behaviour_suite``.
        allow_failing: whether a model that fails it is packaged all the same; the bundle says that it fails.

    Raises:
        BundleError: the data does not fit the manifest, the graph does not load, its answers differ
            from training's, it fails its behavioural suite, or the manifest relies on a measure of
            uncertainty that the bundle would not have. Nothing is left behind.
    """
    if directory.exists():
        raise BundleError(f"{directory} already exists")
    _check_shapes(manifest.spec, material)
    directory.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=directory.parent))
    try:
        _write(draft, model, manifest, material, graphs or {})
        bundle = open_bundle(draft)
        report = parity(bundle, _on_cpu(bundle.model_path, manifest))
        if not report.passed:
            raise BundleError(f"{manifest.spec.tag} fails parity with training: {report.describe()}")
        if suite is not None:
            bundle = _with_parts(
                draft, bundle, partial(write_behaviour, suite=suite, allow_failing=allow_failing)
            )
        if quantify:
            from models.quantifying import write_uncertainty  # its imports take a while, as the next one's

            bundle = _with_parts(draft, bundle, write_uncertainty)
        elif graphs:
            raise BundleError(f"{', '.join(sorted(graphs))}: only measures of uncertainty use such a graph")
        quantifier_of(bundle, providers=CPU, threads=1)  # what the service would refuse is not packaged
        if explain:
            from models.explaining import write_explanations

            bundle = _with_parts(draft, bundle, write_explanations)
        draft.rename(directory)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Bundle(directory, bundle.manifest)


def golden_choice(spec: ModelSpec, rows: FeatureBatch, count: int, seed: int = 0) -> NDArray[np.intp]:
    """Indices of about ``count`` rows that between them show what ``rows`` can show.

    For every feature the first row with a missing value, the first of each category, and the rows
    with the least and largest number come first; the rest is drawn at random.
    """
    chosen: dict[int, None] = {}
    for index, feature in enumerate(spec.schema.features):
        column = rows[:, index]
        missing = np.isnan(column)
        wanted = [missing, *(column == code for code in range(len(feature.categories)))]
        if not feature.categories and not missing.all():
            wanted += [column == np.nanmin(column), column == np.nanmax(column)]
        chosen.update((int(mask.argmax()), None) for mask in wanted if mask.any())
    for index in np.random.default_rng(seed).permutation(len(rows)):
        if len(chosen) >= count:
            break
        chosen[int(index)] = None
    return np.array(list(chosen), dtype=np.intp)


def untried(spec: ModelSpec, golden: FeatureBatch) -> list[str]:
    """What the schema allows and no golden row shows, so that parity says nothing about it."""
    gaps: list[str] = []
    for index, feature in enumerate(spec.schema.features):
        column = golden[:, index]
        if feature.missing and not np.isnan(column).any():
            gaps.append(f"{feature.name} missing")
        gaps += [
            f"{feature.name}={word}"
            for code, word in enumerate(feature.categories)
            if not (column == code).any()
        ]
    return gaps


def _check_shapes(spec: ModelSpec, material: Material) -> None:
    width = spec.schema.width
    parts = {
        "reference": material.reference,
        "calibration": material.calibration,
        "golden": material.golden,
    }
    for name, rows in parts.items():
        if rows.ndim != 2 or rows.shape[1] != width or not len(rows):
            raise BundleError(f"{name} rows have shape {rows.shape}, expected at least one row of {width}")
    if len(material.calibration) != len(material.labels):
        raise BundleError(f"{len(material.calibration)} calibration rows have {len(material.labels)} labels")
    if len(material.calibration) < MIN_CALIBRATION:
        raise BundleError(
            f"{len(material.calibration)} calibration rows are too few; give at least {MIN_CALIBRATION}"
        )
    if material.outputs.shape != (len(material.golden), spec.outputs):
        raise BundleError(
            f"golden outputs have shape {material.outputs.shape}, "
            f"expected {(len(material.golden), spec.outputs)}"
        )


def _write(
    draft: Path,
    model: bytes | Path,
    manifest: Manifest,
    material: Material,
    graphs: Mapping[Graph, bytes],
) -> None:
    spec, dtype = manifest.spec, manifest.spec.schema.dtype
    (draft / MODEL).write_bytes(model if isinstance(model, bytes) else _read(model))
    calibration = np.ascontiguousarray(material.calibration, dtype)
    try:
        scores = _on_cpu(draft / MODEL, manifest).predict(calibration)
    except InferenceError as error:
        raise BundleError(f"the calibration rows cannot be served: {error}") from error
    if not np.isfinite(scores).all():
        row = int((~np.isfinite(scores)).any(axis=1).argmax())
        raise BundleError(f"the graph answers {scores[row].tolist()} for calibration row {row}")
    reference = np.ascontiguousarray(material.reference, dtype)
    golden = np.ascontiguousarray(material.golden, dtype)
    np.savez(draft / GOLDEN, inputs=golden, outputs=np.asarray(material.outputs, np.float64))
    np.savez(draft / BACKGROUND, rows=_sample(reference, MAX_BACKGROUND))
    np.savez(draft / CALIBRATION, rows=calibration, scores=scores, labels=material.labels)
    write_reference(summarise(spec, reference, scores), draft / REFERENCE)
    seconds = [GRAPHS[name] for name in graphs]
    for name, graph in graphs.items():
        (draft / GRAPHS[name]).write_bytes(graph)
    digests = {name: file_digest(draft / name) for name in (*PARTS, *seconds)}
    described = expecting(manifest, reference).model_copy(update={"digests": digests})
    write_manifest(described, draft / MANIFEST_NAME)


def _with_parts(
    draft: Path, bundle: Bundle, write: Callable[[Path, Bundle, OnnxModel], Iterable[str]]
) -> Bundle:
    """The bundle with more parts; ``write`` makes them and names them, and the manifest is written anew."""
    found = write(draft, bundle, _on_cpu(bundle.model_path, bundle.manifest))
    digests = bundle.manifest.digests | {name: file_digest(draft / name) for name in found}
    write_manifest(bundle.manifest.model_copy(update={"digests": digests}), draft / MANIFEST_NAME)
    return open_bundle(draft)


def _on_cpu(path: Path, manifest: Manifest) -> OnnxModel:
    """Packaging answers the same on every machine; a server checks parity again on its own provider."""
    return OnnxModel(path, manifest.spec, manifest.binding, providers=CPU)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error


def _sample(rows: FeatureBatch, most: int) -> FeatureBatch:
    """All rows, or ``most`` of them drawn with a fixed seed, in their order."""
    if len(rows) <= most:
        return rows
    return rows[np.sort(np.random.default_rng(0).choice(len(rows), most, replace=False))]
