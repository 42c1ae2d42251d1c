"""When an answer is wrong, by the three kinds of behavioural checks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.behaviour_suite import Check, Directional, ExpectEntry, Invariance
from service.domain.schema import ModelSpec, Scores, label_indices
from service.errors import BundleError

Excess: TypeAlias = NDArray[np.float64]
"""[rows]: how far an answer is from what is still allowed; above 0 it is wrong, infinite where it is no
number."""
Judge: TypeAlias = Callable[[Scores, Scores], Excess]
"""Given the answers to rows as they are, and to the same rows changed."""
BARELY = float(np.finfo(np.float64).tiny)
"""Wrong, by no distance."""


def judge_of(check: Check, spec: ModelSpec) -> Judge:
    """What holds answers against the check.

    Raises:
        BundleError: it asks about an output that the model does not have; names the key.
    """
    if isinstance(check, Invariance):
        judge = _invariance(check, spec)
    elif isinstance(check, Directional):
        judge = _directional(check, spec)
    else:
        judge = _functionality(check.expect, spec)

    def finite(before: Scores, after: Scores) -> Excess:
        numbers = np.isfinite(before).all(axis=1) & np.isfinite(after).all(axis=1)
        return np.where(numbers, judge(before, after), math.inf)

    return finite


def _invariance(check: Invariance, spec: ModelSpec) -> Judge:
    if not spec.classes and check.within is None:
        raise BundleError("within: required of a regression, which has no label that could stay the same")

    def judge(before: Scores, after: Scores) -> Excess:
        moved = np.abs(after.astype(np.float64) - before).max(axis=1)
        excess = np.full(len(moved), -math.inf) if check.within is None else moved - check.within
        if spec.classes and check.same_label:
            flipped = _labels(spec, before) != _labels(spec, after)
            excess = np.where(flipped, np.maximum(moved, excess), excess)
        return excess

    return judge


def _directional(check: Directional, spec: ModelSpec) -> Judge:
    output, sign = _output(check, spec), 1 if check.must_not == "rise" else -1

    def judge(before: Scores, after: Scores) -> Excess:
        return sign * (after[:, output].astype(np.float64) - before[:, output]) - check.within

    return judge


def _output(check: Directional, spec: ModelSpec) -> int:
    if not spec.classes:
        if check.output is not None:
            raise BundleError(f"output: a regression has no class {check.output!r}")
        return 0
    if check.output is None and len(spec.classes) > 2:
        raise BundleError(f"output: required, one of {', '.join(spec.classes)}")
    return _class("output", check.output or spec.classes[-1], spec)


def _functionality(expect: ExpectEntry, spec: ModelSpec) -> Judge:
    if (expect.value is None) != bool(spec.classes):
        asked = "value" if spec.classes else "label or probability"
        raise BundleError(f"expect: {asked} is not what a {spec.task} model answers")
    if expect.label is not None:
        return _labelled(_class("expect.label", expect.label, spec), spec)
    named = expect.probability or {}
    ranges = {_class(f"expect.probability.{name}", name, spec): limits for name, limits in named.items()}
    if expect.value is not None:
        ranges[0] = expect.value

    def judge(_: Scores, after: Scores) -> Excess:
        answers, excess = after.astype(np.float64), np.full(len(after), -math.inf)
        for output, (low, high) in ranges.items():
            if low is not None:
                excess = np.maximum(excess, low - answers[:, output])
            if high is not None:
                excess = np.maximum(excess, answers[:, output] - high)
        return excess

    return judge


def _labelled(wanted: int, spec: ModelSpec) -> Judge:
    def judge(_: Scores, after: Scores) -> Excess:
        answers = after.astype(np.float64)
        if spec.task == "binary":
            short = (spec.threshold - answers[:, 1]) * (1 if wanted else -1)
        else:
            short = np.delete(answers, wanted, axis=1).max(axis=1) - answers[:, wanted]
        wrong = _labels(spec, after) != wanted
        return np.where(wrong, np.maximum(short, BARELY), -math.inf)

    return judge


def _class(key: str, name: str, spec: ModelSpec) -> int:
    if name not in spec.classes:
        raise BundleError(f"{key}: {name!r} is none of the classes {', '.join(spec.classes)}")
    return spec.classes.index(name)


def _labels(spec: ModelSpec, scores: Scores) -> NDArray[np.intp]:
    return np.array(label_indices(spec, scores), dtype=np.intp)
