"""What packaging finds out about a model's explanations: its gradient, its certificate, its global views.

The methods are tested on the model that will be served, by the code that will serve them; one that fails a
hard check is named in the certificate, and no server offers it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.activation import activation_maximisation
from models.bundle import CERTIFICATE, GLOBAL, GRADIENT, Bundle
from models.global_views import global_views
from models.gradients.verify import build_gradient
from models.integrity.certify import certify
from models.prototypes import prototypes
from service.adapters.explainers import METHODS
from service.adapters.onnx import OnnxModel
from service.adapters.subjects import subject_of
from service.domain.explainers.game import Ask, Subject, Unsuitable
from service.domain.explainers.offer import Offer, offer

log = logging.getLogger("understudy.packaging")

FROM_ELSEWHERE = frozenset({"kernel"})
"""Not put through the gate: it is shap's own, offered under its name to whoever wants that, and slow."""
SEED = 0


def write_explanations(draft: Path, bundle: Bundle, model: OnnxModel) -> dict[str, Any]:
    """Adds ``gradient.onnx``, ``certificate.json`` and ``global.json`` to a draft of a bundle.

    Returns:
        What was written, by file name, with what there is to say about each.
    """
    found: dict[str, Any] = {}
    try:
        graph, report = build_gradient(bundle.model_path, bundle.spec, bundle.binding, bundle.background())
        (draft / GRADIENT).write_bytes(graph)
        found[GRADIENT] = report.as_document()
    except Unsuitable as error:
        log.info("%s has no gradient: %s", bundle.spec.tag, error)
    gradient = draft / GRADIENT if GRADIENT in found else None
    subject = subject_of(bundle, model, gradient)
    offered = offer(subject, [method for method in METHODS if method.name not in FROM_ELSEWHERE])
    rows, _, labels = bundle.calibration()
    methods = {name: (offered.methods[name], explain) for name, explain in offered.explainers.items()}
    certificate = certify(subject, methods, rows, seed=SEED).as_document()
    if gradient is not None:
        certificate["gradient"] = found[GRADIENT]
    _write(draft / CERTIFICATE, certificate)
    found[CERTIFICATE] = certificate
    method = _preferred(offered, certificate)
    views = global_views(
        subject,
        offered.explainers[method] if method else None,
        method or "",
        rows,
        labels,
        seed=SEED,
        prototypes=prototypes(subject.spec, rows, labels),
        activation=_activation(subject),
    )
    _write(draft / GLOBAL, views)
    found[GLOBAL] = views
    return found


def _preferred(offered: Offer, certificate: Mapping[str, Any]) -> str | None:
    """The method that answers ``auto``, where one passed."""
    passed = {name for name, record in certificate["methods"].items() if record["offered"]}
    kept = {name: explain for name, explain in offered.explainers.items() if name in passed}
    try:
        return replace(offered, explainers=kept).chosen(Ask())
    except Unsuitable:
        return None


def _activation(subject: Subject) -> dict[str, Any] | None:
    try:
        found = activation_maximisation(subject, SEED)
    except Unsuitable:  # no image, or no gradient
        return None
    return found.as_document(subject.spec.classes, subject.spec.schema.shape)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(
        json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False), encoding="utf-8"
    )
