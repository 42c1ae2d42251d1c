"""Bundles out of the model store, loaded and put through the parity gate."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models import store
from models.bundle import Bundle, open_bundle
from models.gate import parity
from service.adapters.onnx import OnnxModel
from service.domain.parity import ParityReport
from service.domain.schema import FeatureBatch, as_posted
from service.domain.slices import Slice
from service.errors import BundleError

log = logging.getLogger("understudy.bundles")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A bundle that passed its gate."""

    bundle: Bundle
    model: OnnxModel
    report: ParityReport

    def describe(self) -> dict[str, Any]:
        """What ``/models`` shows, ready for JSON."""
        manifest = self.bundle.manifest
        return {
            "name": manifest.name,
            "version": manifest.version,
            "state": "ready",
            "reason": None,
            "task": manifest.task,
            "classes": list(manifest.classes),
            "threshold": manifest.threshold if manifest.task == "binary" else None,
            "features": [entry.model_dump(mode="json") for entry in manifest.features],
            "input": manifest.input.model_dump(mode="json"),
            "providers": list(self.model.providers),
            "parity": {
                "passed": self.report.passed,
                "rows": self.report.rows,
                "summary": self.report.describe(),
            },
            "digest": self.bundle.digest,
            "training": manifest.training.model_dump(mode="json"),
            "uncertainty": _uncertainty(self.bundle),
        }


def _uncertainty(bundle: Bundle) -> dict[str, Any] | None:
    """The measures that answer, by kind, with every other that may be asked for."""
    report, entry = bundle.uncertainty(), bundle.manifest.uncertainty
    if report is None:
        return None
    measures = report["measures"]
    kinds = {
        kind: {
            "chosen": chosen if (named := getattr(entry, kind, "auto")) == "auto" else named,
            "measures": [name for name, found in measures.items() if found["kind"] == kind],
        }
        for kind, chosen in report["chosen"].items()
    }
    return {
        **kinds,
        "confidence": entry.confidence,
        "calibration_rows": report["calibration_rows"],
        "abstain": list(entry.abstain),
    }


def refused(tag: str, reason: str) -> dict[str, Any]:
    """What ``/models`` shows of a bundle that may not serve."""
    name, _, version = tag.partition(":")
    return {"name": name, "version": version, "state": "refused", "reason": reason}


def load(tag: str, *, providers: Sequence[str], threads: int) -> Loaded:
    """The bundle ``NAME:VERSION``, ready to run.

    Raises:
        BundleError: it is absent, damaged, or does not answer as it did at training time; the
            message names the golden row and by how much.
    """
    bundle = open_bundle(store.locate(tag))
    model = OnnxModel(bundle.model_path, bundle.spec, bundle.binding, providers=providers, threads=threads)
    report = parity(bundle, model)
    if not report.passed:
        raise BundleError(f"{tag} fails parity: {report.describe()}")
    log.info("%s loaded on %s: %s", tag, model.providers[0], report.describe())
    return Loaded(bundle, model, report)


def sample_rows(bundle: Bundle, rows: int) -> FeatureBatch:
    """``rows`` canonical rows of the reference data, repeated as needed; for warming up."""
    background = bundle.background()
    return np.ascontiguousarray(background[np.arange(rows) % len(background)])


def slices_of(bundle: Bundle) -> tuple[Slice, ...]:
    """The manifest's slices in canonical terms.

    Raises:
        BundleError: a slice names a value that its column cannot have.
    """
    features = bundle.spec.schema.features
    position = {feature.name: index for index, feature in enumerate(features)}
    found = []
    for entry in bundle.manifest.slices:
        column = position[entry.column]
        categories = features[column].categories
        if categories and entry.value not in categories:
            raise BundleError(f"slice {entry.name!r}: {entry.column} has no category {entry.value!r}")
        try:
            value = categories.index(str(entry.value)) if categories else float(entry.value)
        except ValueError as error:
            raise BundleError(f"slice {entry.name!r}: {entry.value!r} is not a number") from error
        found.append(Slice(entry.name, column, float(value)))
    return tuple(found)


def spread_of(bundle: Bundle) -> float:
    """The unit of a regression's score gaps: the reference scores' standard deviation, 1 if it is 0."""
    _, scores, _ = bundle.calibration()
    return float(scores.std()) or 1.0


def example_of(bundle: Bundle) -> Any:
    """One reference row as a caller would post it."""
    row = bundle.background()[0]
    schema = bundle.spec.schema
    if schema.layout == "image":
        return row.reshape(schema.shape).tolist()
    return {
        feature.name: as_posted(feature, float(value))
        for feature, value in zip(schema.features, row, strict=True)
    }
