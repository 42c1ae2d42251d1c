"""What packaging finds out about a model's uncertainty: every measure that fits it, and which are chosen.

Measures learn from the calibration rows, which the model must never have seen. Each is kept, so that callers
may ask for any; of each kind one answers those who ask for none in particular: what the manifest names, or,
where it says ``auto``, the one with the least held-out loss, or without losses the registry's first.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np

from models.bundle import GRAPHS, MEASURES, UNCERTAINTY, Bundle
from models.members import build_members
from service.adapters.onnx import OnnxModel
from service.adapters.second_graphs import open_graphs
from service.domain.uncertainty.measure import Fitted, Graph, Kind, Material, Unfitting
from service.domain.uncertainty.quantile import QUANTILE
from service.domain.uncertainty.reconstruction import RECONSTRUCTION
from service.domain.uncertainty.registry import MEASURES as REGISTRY
from service.domain.uncertainty.spread import SPREAD
from service.errors import BundleError

log = logging.getLogger("understudy.packaging")

SEED = 0
PROVIDER = "CPUExecutionProvider"
"""Packaging finds the same on every machine."""


def write_uncertainty(draft: Path, bundle: Bundle, model: OnnxModel) -> Iterable[str]:  # noqa: ARG001 - a writer of parts
    """Adds ``uncertainty.npz``, ``uncertainty.json`` and, for trees, ``members.onnx`` to a draft of a bundle.

    Returns:
        The names of the files.

    Raises:
        BundleError: the manifest names a measure that is unknown or cannot serve this model, or a second
            graph was given that no measure can use; says why.
    """
    paths = {graph: path for graph in get_args(Graph) if (path := bundle.graph_path(graph)) is not None}
    given, written = frozenset(paths), []
    if bundle.manifest.uncertainty.passes and "members" not in given:
        raise BundleError("uncertainty.passes: no graph of members was given that could be passed through")
    if "members" not in paths:
        members = build_members(bundle.model_path, bundle.spec, bundle.binding, bundle.background())
        if members is not None:
            paths["members"] = draft / GRAPHS["members"]
            paths["members"].write_bytes(members)
            written.append(GRAPHS["members"])
    material = _material(bundle, paths)
    fitted, refused = _fit_all(material)
    for graph in sorted(given):
        if USES[graph] in refused:  # whoever gave it believes that it is used
            raise BundleError(f"the graph of {graph} is of no use: {refused[USES[graph]]}")
    chosen = {kind: _choose(kind, bundle, fitted, refused) for kind in get_args(Kind)}
    arrays = {f"{name}/{key}": array for name, found in fitted.items() for key, array in found.arrays.items()}
    np.savez(draft / MEASURES, **arrays)  # type: ignore[arg-type]  # numpy's stub takes any name for a flag
    document = {
        "chosen": chosen,
        "measures": {name: {"kind": KINDS[name], **found.report} for name, found in fitted.items()},
        "refused": refused,
        "calibration_rows": len(material.rows),
        "passes": bundle.manifest.uncertainty.passes,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    (draft / UNCERTAINTY).write_text(text, encoding="utf-8")
    return [*written, MEASURES, UNCERTAINTY]


KINDS: Mapping[str, Kind] = {measure.name: measure.kind for measure in REGISTRY}
USES: Mapping[Graph, str] = {
    "reconstruction": RECONSTRUCTION.name,
    "members": SPREAD.name,
    "quantiles": QUANTILE.name,
}
"""The measure that each second graph is for."""


def _material(bundle: Bundle, paths: Mapping[Graph, Path]) -> Material:
    entry = bundle.manifest.uncertainty
    graphs, run = open_graphs(
        paths, bundle.spec, bundle.binding, passes=entry.passes, providers=(PROVIDER,), threads=1
    )
    rows, scores, labels = bundle.calibration()
    return Material(
        bundle.spec,
        rows,
        scores,
        labels,
        bundle.background(),
        graphs,
        run,
        entry.in_domain_percentile,
        SEED,
    )


def _fit_all(material: Material) -> tuple[dict[str, Fitted], dict[str, str]]:
    """Every measure that could be fitted, and why the others could not, by name."""
    fitted: dict[str, Fitted] = {}
    refused: dict[str, str] = {}
    for measure in REGISTRY:
        try:
            fitted[measure.name] = measure.fit(material)
        except Unfitting as error:
            log.info("%s has no %s: %s", material.spec.tag, measure.name, error)
            refused[measure.name] = str(error)
    return fitted, refused


def _choose(
    kind: Kind, bundle: Bundle, fitted: Mapping[str, Fitted], refused: Mapping[str, str]
) -> str | None:
    """The measure of one kind that answers whoever names none; None where none can."""
    of_kind = [name for name, found in KINDS.items() if found == kind]
    wanted: str = getattr(bundle.manifest.uncertainty, kind, "auto")
    if wanted != "auto":
        if wanted not in of_kind:
            raise BundleError(f"uncertainty.{kind}: {wanted!r} is none of {', '.join(of_kind)}")
        if wanted not in fitted:
            raise BundleError(f"uncertainty.{kind}: {wanted} cannot serve this model: {refused[wanted]}")
        return wanted
    losses = {name: float(_loss(fitted[name].report)) for name in of_kind if name in fitted}
    return min(losses, key=lambda name: losses[name], default=None)


def _loss(report: Mapping[str, Any]) -> float:
    loss = report.get("loss")
    return float("inf") if loss is None else float(loss)
