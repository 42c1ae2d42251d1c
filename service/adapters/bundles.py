"""Bundles out of the model store, loaded and put through the parity gate."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import store
from models.bundle import Bundle, open_bundle
from models.gate import parity
from models.manifest import Parity
from models.reference import ReferenceVariable
from service.adapters.onnx import OnnxModel
from service.domain.binning import Binning, Cut, labels, numbers, percentiles, words
from service.domain.evidence.bins import Bins
from service.domain.evidence.redaction import IMAGE, Rule
from service.domain.parity import ParityReport
from service.domain.schema import FeatureBatch, as_posted, label_indices
from service.domain.slices import Slice
from service.domain.variables import DOMAIN, SCORE
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
    """The manifest's slices in canonical terms."""
    schema = bundle.spec.schema
    return tuple(Slice(entry.name, entry.condition(schema)) for entry in bundle.manifest.slices)


def redaction_of(bundle: Bundle) -> dict[str, Rule]:
    """What becomes of each column before a row is kept; an image is one column."""
    manifest = bundle.manifest
    if manifest.input.layout == "image":
        return {IMAGE: manifest.input.redact}
    return {entry.name: entry.redact for entry in manifest.features}


def binning_of(bundle: Bundle) -> Binning:
    """The reference data's bins of every variable, and its rows in them."""
    cuts = [_cut(each, bundle.manifest.parity) for each in bundle.reference().values()]
    if bundle.spec.classes:
        _, scores, _ = bundle.calibration()
        answered = np.bincount(label_indices(bundle.spec, scores), minlength=len(bundle.spec.classes))
        cuts.append(labels(bundle.spec.classes, answered.tolist()))
    ascending = _calibrated_domain(bundle)
    if ascending is not None:
        cuts.append(percentiles(ascending))
    found = Binning.of(cuts)
    if len(found.cuts) < len(cuts):
        log.warning("%s: %d of %d variables are watched", bundle.spec.tag, len(found.cuts), len(cuts))
    return found


def bins_of(bundle: Bundle) -> Bins:
    """The bins by which compared rows are told apart: of all variables that rows and scores show."""
    return Bins(bundle.spec, binning_of(bundle).without(DOMAIN))


def _cut(known: ReferenceVariable, parity: Parity) -> Cut:
    if known.categories:
        return words(known.name, known.counts, known.missing, known.categories)
    ends = known.minimum, known.maximum
    slack = 0.0
    if known.name.partition(":")[0] == SCORE:  # by as much as answers may differ from those of training
        slack = parity.absolute + parity.relative * max(abs(end or 0.0) for end in ends)
    return numbers(known.name, known.counts, known.missing, known.edges, *ends, slack)


def _calibrated_domain(bundle: Bundle) -> NDArray[np.float64] | None:
    """What the calibration rows score by the measure of the domain that answers; None without one."""
    report = bundle.uncertainty()
    if report is None:
        return None
    named = bundle.manifest.uncertainty.domain
    name = report["chosen"]["domain"] if named == "auto" else named
    return bundle.measures().get(name, {}).get("ascending")


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


def behaviour_of(bundle: Bundle) -> dict[str, Any] | None:
    """What the bundle's behavioural suite found at packaging; None where it has none.

    Without the failing rows, which are training data that nobody has redacted.
    """
    document = bundle.behaviour()
    if document is None:
        return None
    checks = [
        {key: value for key, value in check.items() if key != "examples"} for check in document["checks"]
    ]
    return {"passed": document["passed"], "checks": checks}
