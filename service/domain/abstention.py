"""Answers that name no label because the model should not be relied on here.

An abstained row has, in place of the index of a class, an index behind the last one; so it travels with the
labels, and is counted as they are.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import ModelSpec

Reason: TypeAlias = Literal["ambiguous", "out_of_domain"]
"""The set of possible labels does not hold exactly one; the training data had no such rows."""

REASONS: tuple[Reason, ...] = get_args(Reason)


def index_of(spec: ModelSpec, reason: Reason) -> int:
    """What stands for ``reason`` among the labels of ``spec``."""
    return spec.outputs + REASONS.index(reason)


def reason_of(spec: ModelSpec, label: int) -> Reason | None:
    """Why a row was not labelled, or None where it was."""
    return REASONS[label - spec.outputs] if label >= spec.outputs else None


def abstain(
    spec: ModelSpec, labels: list[int], ambiguous: NDArray[np.bool_] | None, strange: NDArray[np.bool_] | None
) -> list[int]:
    """The labels with those taken back that are not to be relied on.

    Args:
        spec: the model.
        labels: as answered, [rows].
        ambiguous: rows whose set does not hold exactly one label, or None where that is no reason.
        strange: rows that are out of domain, likewise; the stronger reason of the two.
    """
    found = list(labels)
    for mask, reason in ((ambiguous, REASONS[0]), (strange, REASONS[1])):
        if mask is not None:
            for row in np.flatnonzero(mask):
                found[row] = index_of(spec, reason)
    return found
