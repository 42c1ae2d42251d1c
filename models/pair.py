"""Two bundles as the pair that measures of disagreement and judgement compare."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.manifest import Manifest
from models.reference import cut_points
from service.domain.disagreement.measure import Pair, Tolerance
from service.errors import BundleError


def pair_of(production: Bundle, candidate: Bundle) -> Pair:
    """The pair, by production's manifest and reference data.

    Raises:
        BundleError: they answer different things, which nobody could compare.
    """
    spec, other = production.spec, candidate.spec
    if (spec.task, spec.classes) != (other.task, other.classes):
        theirs = f"{other.tag} {_answers(candidate)}"
        raise BundleError(f"{spec.tag} answers {_answers(production)}, {theirs}: no pair to compare")
    manifest, scores = production.manifest, production.calibration()[1]
    return Pair(
        spec,
        other,
        Tolerance(manifest.tolerance.absolute, manifest.tolerance.relative),
        1.0 if spec.classes else float(scores.std()) or 1.0,
        _costs(manifest),
        _cuts(production),
    )


def _cuts(bundle: Bundle) -> tuple[float, ...]:
    """Between bins of the score; of any class's where there are more than two."""
    score = bundle.reference().get("score")
    return cut_points(bundle.calibration()[1].ravel()) if score is None else score.edges


def _answers(bundle: Bundle) -> str:
    return ", ".join(bundle.spec.classes) or "a value"


def _costs(manifest: Manifest) -> NDArray[np.float64] | None:
    """[true class, answered class], 1 at most."""
    if not manifest.costs:
        return None
    names = manifest.classes
    table = np.array(
        [[manifest.costs.get(truth, {}).get(answer, 0.0) for answer in names] for truth in names]
    )
    scaled: NDArray[np.float64] = table / table.max()
    return scaled
