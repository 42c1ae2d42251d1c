"""Labels that are not to be relied on are taken back, and the reason stands in their place."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.abstention import REASONS, abstain, index_of, reason_of
from tests.domain.models import spec

AMBIGUOUS = np.array([True, False, True, False])
STRANGE = np.array([False, False, True, True])


def test_each_row_keeps_its_label_or_gets_its_reason() -> None:
    model = spec()
    labels = abstain(model, [0, 1, 0, 1], AMBIGUOUS, STRANGE)
    assert [reason_of(model, label) for label in labels] == [
        "ambiguous",
        None,
        "out_of_domain",
        "out_of_domain",
    ]
    assert labels[1] == 1


@pytest.mark.parametrize("reason", REASONS)
def test_only_what_the_manifest_names_is_a_reason(reason: str) -> None:
    model, given = spec(), [0, 1, 0, 1]
    masks = {"ambiguous": AMBIGUOUS, "out_of_domain": STRANGE}
    labels = abstain(model, given, *(masks[name] if name == reason else None for name in REASONS))
    taken = [reason_of(model, label) for label in labels]
    assert taken == [reason if hit else None for hit in masks[reason]]
    assert given == [0, 1, 0, 1]


@pytest.mark.parametrize("model", [spec(), spec(task="multiclass"), spec(task="regression")])
def test_reasons_are_told_from_every_label(model) -> None:  # type: ignore[no-untyped-def]  # a ModelSpec
    assert all(reason_of(model, label) is None for label in range(model.outputs))
    assert [reason_of(model, index_of(model, reason)) for reason in REASONS] == list(REASONS)
