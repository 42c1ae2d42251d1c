"""Explanation methods in a few lines: a slow one that is right, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from service.domain.explainers.game import (
    Ask,
    Explainer,
    Explanation,
    Method,
    Subject,
    explained,
    label_of,
    value_function,
)
from service.domain.schema import FeatureBatch, label_indices
from tests.domain.explainers.games import enumerated

Array = NDArray[np.float64]
Spoil = Callable[[Subject, FeatureBatch, int, Explanation], Explanation]
"""What becomes of the explanation of one row, given all rows and its place."""


def _label(subject: Subject, rows: FeatureBatch, at: int, ask: Ask) -> int | None:
    answered = label_indices(subject.spec, subject.predict(rows[at : at + 1]))[0]
    return label_of(subject.spec, ask, answered)


def _told(
    subject: Subject, rows: FeatureBatch, at: int, ask: Ask, values: Array, base: float, **more: Any
) -> Explanation:
    output, label = ask.output or subject.own_output(), _label(subject, rows, at, ask)
    served = explained(subject.predict(rows[at : at + 1]), output, label or 0)[0]
    told = Explanation("toy", True, output, label, base, values, **more)
    return replace(told, additivity_gap=gap(told, served))


def gap(told: Explanation, served: float) -> float:
    """As the contract has it: in units of the served score."""
    total = told.base_value + told.values.sum()
    if told.output == "margin":
        return abs(float(special.expit(total) - special.expit(served)))
    return abs(float(total - served))


def _build_enumeration(subject: Subject) -> Explainer:
    def explain(rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        told = []
        for at, row in enumerate(rows):
            output = ask.output or subject.own_output()
            values = value_function(subject, output, _label(subject, rows, at, ask))
            base = float(values(subject.background).mean())
            told.append(_told(subject, rows, at, ask, enumerated(subject, row, values), base))
        return told

    return explain


def _build_occlusion(subject: Subject) -> Explainer:
    def explain(rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        told = []
        for at, row in enumerate(rows):
            output = ask.output or subject.own_output()
            values = value_function(subject, output, _label(subject, rows, at, ask))
            found = []
            for columns in subject.players.columns:
                mixed = np.repeat(row[None], len(subject.background), axis=0)
                mixed[:, columns] = subject.background[:, columns]
                found.append(values(rows[at : at + 1])[0] - values(mixed).mean())
            base = float(values(subject.background).mean())
            told.append(replace(_told(subject, rows, at, ask, np.array(found), base), exact=False))
        return told

    return explain


ENUMERATION = Method("enumeration", _build_enumeration, quick=True)
OCCLUSION = Method("occlusion", _build_occlusion, quick=True, additive=False)


def spoiled(change: Spoil, method: Method = ENUMERATION) -> Method:
    """The method with every explanation changed; the gap it reports stays true."""

    def build(subject: Subject) -> Explainer:
        inner = method.build(subject)

        def explain(rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
            found = []
            for at, told in enumerate(inner(rows, ask, due)):
                changed = change(subject, rows, at, told)
                if changed.additivity_gap == told.additivity_gap:
                    scores = subject.predict(rows[at : at + 1])
                    served = explained(scores, told.output, told.label or 0)[0]
                    changed = replace(changed, additivity_gap=gap(changed, served))
                found.append(changed)
            return found

        return explain

    return replace(method, build=build)


def with_values(change: Callable[[Array, FeatureBatch], Array]) -> Method:
    """Enumeration whose values of a row become ``change(values, row)``."""
    return spoiled(lambda subject, rows, at, told: replace(told, values=change(told.values, rows[at])))
