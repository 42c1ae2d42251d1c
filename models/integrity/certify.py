"""Puts every method of a model through every check."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from models.integrity.agreement import agreement
from models.integrity.conduct import (
    deletion,
    independence,
    randomised_labels,
    randomised_weights,
    repeatability,
    stability,
)
from models.integrity.laws import additivity, dummy, symmetry
from models.integrity.records import Certificate, Check, MethodRecord
from models.integrity.trial import Claim, Trial, trial
from service.domain.explainers.game import Explainer, Method, Subject
from service.domain.schema import FeatureBatch

CHECKS: tuple[Callable[[Trial], Check], ...] = (
    repeatability,
    independence,
    additivity,
    agreement,
    dummy,
    symmetry,
    randomised_weights,
    randomised_labels,
    deletion,
    stability,
)

CLAIMS: Mapping[str, Claim] = {
    "lime": "contribution",
    "occlusion": "contribution",
    "occlusion-superpixels": "contribution",
    "integrated-gradients": "contribution",
    "saliency": "sensitivity",
    "smoothgrad": "sensitivity",
    "grad-cam": "sensitivity",
}
"""By method name; a method that is not here is held to Shapley values."""


def certify(
    subject: Subject,
    methods: Mapping[str, tuple[Method, Explainer]],
    rows: FeatureBatch,
    *,
    seed: int = 0,
    claims: Mapping[str, Claim] = CLAIMS,
) -> Certificate:
    """Tests every method that divides the output among players.

    A check that raises is a failed check: what cannot be tested is not offered. A method whose explanations
    hold no values, such as a counterfactual, is only asked for the same answer twice.

    Args:
        subject: the model as it is served.
        methods: each with its explainer for ``subject``, by name.
        rows: calibration rows, [rows, width].
        seed: of every random choice.
        claims: what methods say their values are, by name; Shapley values where they are silent.
    """
    order = np.random.default_rng([seed, 10]).permutation(len(rows))
    return Certificate(
        model=subject.spec.tag,
        rows=len(rows),
        seed=seed,
        methods={
            name: MethodRecord(
                _examine(subject, method, explainer, rows[order], claims.get(name, "shapley"), seed)
            )
            for name, (method, explainer) in methods.items()
        },
    )


def _examine(
    subject: Subject, method: Method, explainer: Explainer, rows: FeatureBatch, claim: Claim, seed: int
) -> tuple[Check, ...]:
    try:
        own = trial(method, explainer, subject, rows, claim=claim, seed=seed)
    except Exception as error:  # a method is someone else's code, and packaging goes on without it
        return (_raised("start", error),)
    return tuple(_held(check, own) for check in (CHECKS if own.divides else (repeatability,)))


def _held(check: Callable[[Trial], Check], own: Trial) -> Check:
    try:
        return check(own)
    except Exception as error:  # as above
        return _raised(check.__name__.replace("_", " "), error)


def _raised(name: str, error: Exception) -> Check:
    return Check(name, False, f"it raised {type(error).__name__}: {error}")
