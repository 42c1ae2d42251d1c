"""A bundle on disk: a model with all that is needed to serve, watch, explain and doubt it.

| file             | what it holds                                                                   |
|------------------|---------------------------------------------------------------------------------|
| manifest.yaml    | what people read: schema, outputs, classes, slices, training, digests           |
| model.onnx       | the graph                                                                       |
| golden.npz       | ``inputs`` canonical rows; ``outputs`` float64, the training framework's own    |
| background.npz   | ``rows``: at most 1,000 canonical rows of the training data                     |
| calibration.npz  | ``rows``, ``scores`` as served, ``labels``: rows never used in training         |
| reference.json   | per-variable bins and counts (see ``models.reference``)                         |
| gradient.onnx    | the graph of the model's derivative, where it has one; optional                 |
| certificate.json | how each explanation method passed the integrity gate; optional                 |
| global.json      | what the model relies on as a whole; optional                                   |
| uncertainty.npz  | what the measures of uncertainty learnt from the calibration rows; optional     |
| uncertainty.json | what packaging found out about them, and which were chosen; optional            |
| reconstruction.onnx, members.onnx, quantiles.onnx | second graphs, which take what the model takes  |
|                  | (``service.domain.uncertainty.measure.Run`` says what they answer); optional    |
| behaviour.yaml   | a suite of behavioural checks (see ``models.behaviour_suite``); optional        |
| behaviour.json   | what packaging found out by it; goes with the suite                             |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from models.canonical import Labels
from models.manifest import MANIFEST_NAME, Manifest, read_manifest
from models.reference import ReferenceVariable, read_reference
from service.domain.schema import Binding, FeatureBatch, ModelSpec, Scores
from service.domain.uncertainty.measure import Graph
from service.errors import BundleError

MODEL, GOLDEN, BACKGROUND, CALIBRATION, REFERENCE = (
    "model.onnx",
    "golden.npz",
    "background.npz",
    "calibration.npz",
    "reference.json",
)
PARTS = (MODEL, GOLDEN, BACKGROUND, CALIBRATION, REFERENCE)
"""Every file that a bundle must have beside its manifest."""
GRADIENT, CERTIFICATE, GLOBAL = "gradient.onnx", "certificate.json", "global.json"
MEASURES, UNCERTAINTY = "uncertainty.npz", "uncertainty.json"
SUITE, BEHAVIOUR = "behaviour.yaml", "behaviour.json"
GRAPHS: Mapping[Graph, str] = {name: f"{name}.onnx" for name in get_args(Graph)}
"""Files that a bundle may have as well."""

STORE_FILE = "model.yaml"
"""BentoML's own entry file, which it writes beside ours."""

MAX_BACKGROUND = 1000


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose digests were right when it was opened; its parts are read when asked for."""

    path: Path
    manifest: Manifest

    @property
    def spec(self) -> ModelSpec:
        return self.manifest.spec

    @property
    def binding(self) -> Binding:
        return self.manifest.binding

    @property
    def model_path(self) -> Path:
        return self.path / MODEL

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` over all parts: two bundles with the same digest serve the same."""
        lines = "".join(f"{name} {self.manifest.digests[name]}\n" for name in sorted(self.manifest.digests))
        return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"

    def golden(self) -> tuple[FeatureBatch, NDArray[np.float64]]:
        """Canonical inputs [rows, width] and the training framework's outputs [rows, outputs]."""
        inputs, outputs = self._arrays(GOLDEN, "inputs", "outputs")
        self._check(GOLDEN, outputs, (len(inputs), self.spec.outputs), "f")
        return inputs, outputs

    def background(self) -> FeatureBatch:
        """Canonical training rows that explanations compare with; [rows <= 1000, width]."""
        (rows,) = self._arrays(BACKGROUND, "rows")
        return rows

    def calibration(self) -> tuple[FeatureBatch, Scores, Labels]:
        """Canonical rows [rows, width], served scores [rows, outputs], labels [rows].

        Labels are intp indices into ``spec.classes``, or float64 values for regression.
        """
        rows, scores, labels = self._arrays(CALIBRATION, "rows", "scores", "labels")
        self._check(CALIBRATION, scores, (len(rows), self.spec.outputs), "f")
        self._check(CALIBRATION, labels, (len(rows),), "i" if self.spec.classes else "f")
        if self.spec.classes and not ((labels >= 0) & (labels < len(self.spec.classes))).all():
            raise BundleError(f"{self.path / CALIBRATION}: a label is not an index into the classes")
        return rows, scores, labels

    def reference(self) -> dict[str, ReferenceVariable]:
        """What training looked like, by variable name."""
        try:
            return read_reference(self.path / REFERENCE)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{self.path / REFERENCE}: cannot be read: {error!r}") from error

    @property
    def gradient_path(self) -> Path | None:
        """The graph of the model's derivative, where there is one."""
        return self.path / GRADIENT if GRADIENT in self.manifest.digests else None

    def certificate(self) -> dict[str, Any] | None:
        """What the integrity gate found out about each explanation method, or None without one."""
        return self._json(CERTIFICATE)

    def measures(self) -> dict[str, dict[str, NDArray[Any]]]:
        """What each measure of uncertainty learnt, by name; empty where nothing was fitted."""
        found: dict[str, dict[str, NDArray[Any]]] = {}
        if MEASURES not in self.manifest.digests:
            return found
        try:
            with np.load(self.path / MEASURES, allow_pickle=False) as archive:
                for key in archive.files:
                    measure, _, array = key.partition("/")
                    found.setdefault(measure, {})[array] = archive[key]
        except (OSError, ValueError) as error:
            raise BundleError(f"{self.path / MEASURES}: cannot be read: {error}") from error
        return found

    def uncertainty(self) -> dict[str, Any] | None:
        """What packaging found out about the measures of uncertainty, or None without them."""
        return self._json(UNCERTAINTY)

    @property
    def suite_path(self) -> Path | None:
        """The bundle's own behavioural suite, where it has one."""
        return self.path / SUITE if SUITE in self.manifest.digests else None

    def behaviour(self) -> dict[str, Any] | None:
        """What the suite found out at packaging, or None without one: ``passed`` and ``checks``."""
        return self._json(BEHAVIOUR)

    def graph_path(self, graph: Graph) -> Path | None:
        """Where a second graph lies, or None where the bundle has none of the kind."""
        name = GRAPHS[graph]
        return self.path / name if name in self.manifest.digests else None

    def global_views(self) -> bytes | None:
        """JSON about the model as a whole, or None without it."""
        if GLOBAL not in self.manifest.digests:
            return None
        try:
            return (self.path / GLOBAL).read_bytes()
        except OSError as error:
            raise BundleError(f"{self.path / GLOBAL}: cannot be read: {error!r}") from error

    def _json(self, part: str) -> dict[str, Any] | None:
        if part not in self.manifest.digests:
            return None
        try:
            found: dict[str, Any] = json.loads((self.path / part).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BundleError(f"{self.path / part}: cannot be read: {error!r}") from error
        return found

    def _arrays(self, part: str, *names: str) -> list[NDArray[Any]]:
        path = self.path / part
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = [archive[name] for name in names]
        except (OSError, ValueError, KeyError) as error:
            raise BundleError(f"{path}: cannot be read: {error}") from error
        schema = self.spec.schema
        self._check(part, arrays[0], (len(arrays[0]), schema.width), schema.dtype.kind)
        if arrays[0].dtype != schema.dtype:
            raise BundleError(f"{path}: rows are {arrays[0].dtype}, the schema's are {schema.dtype}")
        return arrays

    def _check(self, part: str, array: NDArray[Any], shape: tuple[int, ...], kind: str) -> None:
        if array.shape != shape or array.dtype.kind != kind:
            found = f"{array.dtype} {list(array.shape)}"
            raise BundleError(f"{self.path / part}: holds {found} where shape {list(shape)} belongs")


def open_bundle(directory: Path) -> Bundle:
    """The bundle in ``directory``, after checking that it is whole and unaltered.

    Raises:
        BundleError: the manifest is absent or wrong, or a file is missing, altered or undeclared;
            names the file.
    """
    if not directory.is_dir():
        raise BundleError(f"{directory}: no such bundle directory")
    manifest = read_manifest(directory / MANIFEST_NAME)
    declared, present = set(manifest.digests), set(_part_names(directory))
    for name in PARTS:
        if name not in declared:
            raise BundleError(f"{directory}: the manifest has no digest of {name}")
    for name in sorted(declared | present):
        if name not in present:
            raise BundleError(f"{directory}: {name} is missing")
        if name not in declared:
            raise BundleError(f"{directory}: {name} is not declared in the manifest")
        if file_digest(directory / name) != manifest.digests[name]:
            raise BundleError(f"{directory}: {name} was altered: its digest is not the manifest's")
    return Bundle(directory, manifest)


def file_digest(path: Path) -> str:
    """``sha256:<hex>`` of a file's bytes."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _part_names(directory: Path) -> Iterable[str]:
    own = {MANIFEST_NAME, STORE_FILE}
    for path in directory.rglob("*"):
        name = path.relative_to(directory).as_posix()
        if name not in own and not path.is_dir():
            yield name
