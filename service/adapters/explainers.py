"""The registry of explanation methods, and what they need to know about a loaded bundle."""

from __future__ import annotations

import hashlib
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from models.bundle import Bundle
from service.adapters.gradients import load_gradient
from service.adapters.graphs.structure import structure_of
from service.adapters.onnx import OnnxModel
from service.adapters.shap_kernel import KERNEL
from service.adapters.shap_trees import TREE_SHAP
from service.domain.explainers.anchor import ANCHOR
from service.domain.explainers.counterfactual import COUNTERFACTUAL
from service.domain.explainers.document import Narrator
from service.domain.explainers.exhaustive import EXHAUSTIVE
from service.domain.explainers.game import (
    Gradient,
    Method,
    Structure,
    Subject,
    Unsuitable,
    natural_output,
)
from service.domain.explainers.grad_cam import GRAD_CAM
from service.domain.explainers.image_players import players_of
from service.domain.explainers.integrated_gradients import INTEGRATED_GRADIENTS
from service.domain.explainers.lime import LIME
from service.domain.explainers.linear_exact import LINEAR_EXACT
from service.domain.explainers.occlusion import OCCLUSION, OCCLUSION_SUPERPIXELS
from service.domain.explainers.offer import Offer, offer
from service.domain.explainers.permutation import PERMUTATION
from service.domain.explainers.saliency import SALIENCY
from service.domain.explainers.smoothgrad import SMOOTHGRAD
from service.domain.explainers.tree_exact import TREE_EXACT
from service.domain.neighbours import Neighbours
from service.domain.schema import FeatureBatch

METHODS: tuple[Method, ...] = (
    TREE_EXACT,
    TREE_SHAP,  # in its place where folding is too large
    LINEAR_EXACT,
    EXHAUSTIVE,
    PERMUTATION,
    KERNEL,
    LIME,
    OCCLUSION,
    OCCLUSION_SUPERPIXELS,
    SALIENCY,
    SMOOTHGRAD,
    INTEGRATED_GRADIENTS,
    GRAD_CAM,
    COUNTERFACTUAL,
    ANCHOR,
)
NEED_SHAP = (TREE_SHAP, KERNEL)
"""What loads shap when it is used."""
QUICK = tuple(method for method in METHODS if method.quick)
"""What an edge may do in a request's own time."""


def subject_of(bundle: Bundle, model: OnnxModel, gradient: Path | None = None) -> Subject:
    """The model as methods see it.

    Args:
        bundle: with the reference data.
        model: the model at work.
        gradient: the graph of its derivative, where it is not in the bundle yet.
    """
    spec, background = bundle.spec, bundle.background()
    structure: Structure | None = None
    why = ""
    try:
        structure = structure_of(bundle.model_path, spec, bundle.binding, model.predict, background)
    except Unsuitable as error:
        why = str(error)
    return Subject(
        spec=spec,
        predict=model.predict,
        background=background,
        players=players_of(spec),
        structure=structure,
        why_no_structure=why,
        gradient=_gradient(bundle, model, gradient or bundle.gradient_path),
        output=natural_output(spec, model.predict(background)),
        mutability=tuple(entry.change for entry in bundle.manifest.features),
    )


def offered(bundle: Bundle, model: OnnxModel, methods: tuple[Method, ...] = METHODS) -> Offer:
    """The methods that can explain a bundle's model and have passed its integrity gate."""
    return offer(subject_of(bundle, model), methods, forbidden_by(bundle.certificate()))


def narrator(bundle: Bundle, subject: Subject) -> Narrator:
    """Puts explanations of a bundle's model into words."""
    rows, _, labels = bundle.calibration()
    reference = Neighbours(rows, labels, bundle.spec)
    return Narrator(
        spec=bundle.spec,
        players=subject.players,
        background_rows=len(subject.background),
        background_digest=bundle.manifest.digests["background.npz"],
        certificate=certificate_digest(bundle.certificate()),
        neighbours=partial(_nearest, reference),
        numbers=_numbers,
    )


def forbidden_by(certificate: dict[str, Any] | None) -> dict[str, str]:
    """Methods that failed the integrity gate at packaging, with the reason."""
    found = (certificate or {}).get("methods", {})
    return {name: str(entry["reason"]) for name, entry in found.items() if not entry["offered"]}


def certificate_digest(certificate: dict[str, Any] | None) -> str | None:
    """``sha256:<hex>`` of a certificate, by which answers name it."""
    if certificate is None:
        return None
    text = json.dumps(certificate, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _gradient(bundle: Bundle, model: OnnxModel, path: Path | None) -> Gradient | None:
    return load_gradient(path, bundle.spec, bundle.binding, model.providers) if path else None


def _numbers(row: FeatureBatch) -> list[float]:
    """The values as ``service.domain.words.shortest`` has them, in a tenth of the time; missing is NaN."""
    read: list[float | None] = orjson.loads(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY))
    return [math.nan if value is None else value for value in read]


def _nearest(reference: Neighbours, row: Any, k: int) -> list[dict[str, Any]]:
    return reference.nearest(row, k)
