"""Two bundles as the pair that measures of disagreement and judgement compare."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.manifest import Manifest
from models.reference import cut_points
from service.domain.disagreement.measure import Pair, Tolerance
from service.errors import BundleError

SAME = 0.1
"""Values of a regression are the same answer within so many spreads, unless the manifest says how far.

Hardly any retrained model repeats 95 % of its values to a millionth: each would be rolled back for it.
"""


def pair_of(production: Bundle, candidate: Bundle) -> Pair:
    """The pair, by production's manifest and reference data.

    Raises:
        BundleError: they answer different things, which nobody could compare.
    """
    spec, other = production.spec, candidate.spec
    if (spec.task, spec.classes) != (other.task, other.classes):
        theirs = f"{other.tag} {_answers(candidate)}"
        raise BundleError(f"{spec.tag} answers {_answers(production)}, {theirs}: no pair to compare")
    manifest, spread = production.manifest, spread_of(production)
    return Pair(
        spec,
        other,
        _tolerance(manifest, spread),
        spread,
        _costs(manifest),
        _cuts(production),
    )


def _cuts(bundle: Bundle) -> tuple[float, ...]:
    """Between bins of the score; of any class's where there are more than two."""
    score = bundle.reference().get("score")
    return cut_points(bundle.calibration()[1].ravel()) if score is None else score.edges


def spread_of(bundle: Bundle) -> float:
    """The unit of score gaps: of a regression the reference scores' standard deviation, else 1."""
    if bundle.spec.classes:
        return 1.0
    return float(bundle.calibration()[1].std(dtype=np.float64)) or 1.0


def _tolerance(manifest: Manifest, spread: float) -> Tolerance:
    declared = manifest.tolerance
    if declared is not None:
        return Tolerance(declared.absolute, declared.relative)
    return Tolerance() if manifest.classes else Tolerance(absolute=SAME * spread)


def _answers(bundle: Bundle) -> str:
    return ", ".join(bundle.spec.classes) or "a value"


def _costs(manifest: Manifest) -> NDArray[np.float64] | None:
    """[true class, answered class], in the manifest's unit."""
    if not manifest.costs:
        return None
    names = manifest.classes
    return np.array([[manifest.costs.get(truth, {}).get(answer, 0.0) for answer in names] for truth in names])
