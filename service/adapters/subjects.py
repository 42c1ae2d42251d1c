"""A loaded bundle's model as explanation methods see it, and as callers are told about it.

Apart from the registry of methods because an edge needs little of it: what the others import takes 100 MB.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from models.bundle import BACKGROUND, Bundle
from service.adapters.gradients import load_gradient
from service.adapters.graphs.structure import structure_of
from service.adapters.onnx import OnnxModel
from service.domain.explainers.document import Narrator
from service.domain.explainers.game import Structure, Subject, Unsuitable, natural_output
from service.domain.explainers.image_players import players_of
from service.domain.schema import FeatureBatch


def subject_of(bundle: Bundle, model: OnnxModel, gradient: Path | None = None) -> Subject:
    """The model as methods see it.

    Args:
        bundle: with the reference data.
        model: the model at work.
        gradient: the graph of its derivative, for methods that need it.
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
        gradient=load_gradient(gradient, spec, bundle.binding, model.providers) if gradient else None,
        output=natural_output(spec, model.predict(background)),
        mutability=tuple(entry.change for entry in bundle.manifest.features),
    )


def narrator(
    bundle: Bundle,
    subject: Subject,
    nearest: Callable[[FeatureBatch, int], list[dict[str, Any]]] | None = None,
) -> Narrator:
    """Puts explanations of a bundle's model into words; ``nearest`` finds the rows most like one."""
    return Narrator(
        spec=bundle.spec,
        players=subject.players,
        background_rows=len(subject.background),
        background_digest=bundle.manifest.digests[BACKGROUND],
        certificate=certificate_digest(bundle.certificate()),
        neighbours=nearest,
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


def _numbers(row: FeatureBatch) -> list[float]:
    """The values as ``service.domain.words.shortest`` has them, in a tenth of the time; missing is NaN."""
    read: list[float | None] = orjson.loads(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY))
    return [math.nan if value is None else value for value in read]
