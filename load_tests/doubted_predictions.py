"""What saying how sure it is adds to a prediction: label set, calibrated probability and domain score.

The demo's service (production ``credit:gbm-1`` and its shadow) on one core. Runs with and without
``"uncertainty": true`` take turns; the target is held against requests per second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from load_tests import bundles
from load_tests.paired_predictions import (
    BATCH,
    EIGHT,
    HEADER,
    OPEN,
    SINGLE,
    WITHOUT,
    Case,
    measured,
    told,
)
from load_tests.payloads import Codec, Doubted, Native
from load_tests.report import Finding
from load_tests.sections import Circumstances, Section
from models.bundle import open_bundle
from service.adapters.onnx import OnnxModel
from service.adapters.quantities import quantifier_of
from service.domain.uncertainty.quantifier import Doubt
from service.http.doubts_wire import encode_doubts

POSITIVE = "good"
WITH = "/predict, in doubt"
CODECS: dict[str, Codec] = {WITHOUT: Native(POSITIVE), WITH: Doubted(POSITIVE)}
SPEED = 0.9
"""Times as many requests per second, at least."""
BUDGET = 20.0
"""Microseconds for what is said about one row by default, at most."""
CPU = ("CPUExecutionProvider",)
_PAIR = (WITHOUT, WITH)
_SHAPES = [
    *((1, load, _PAIR) for load in (OPEN, SINGLE, EIGHT)),
    *((rows, EIGHT, _PAIR) for rows in (10, 100)),
    (BATCH, SINGLE, _PAIR),
]


def predictions(circumstances: Circumstances) -> Section:
    """``/predict`` with and without uncertainty, and what it costs in one process."""
    cases, rate = measured(CODECS, _SHAPES, circumstances)
    section = Section("/predict with and without uncertainty", HEADER)
    section.how = told(rate, circumstances.quick)
    section.findings = [*findings(cases), *costs(circumstances.home)]
    section.lines = [line for case in cases for line in case.lines()]
    section.measured = [case.as_dict() for case in cases]
    return section


def findings(cases: Sequence[Case]) -> Iterator[Finding]:
    """What was promised about predictions in doubt."""
    for case in cases:
        if case.load.open:
            yield Finding(f"{case.name}: p50 in doubt / plain", case.ratio(), "x", at_most=True)
        else:
            target = SPEED if case.load == EIGHT else None
            yield Finding(f"{case.name}: req/s in doubt / plain", case.speed(), "x", target)
    yield Finding("failed answers", sum(case.failed for case in cases), "", 0, at_most=True)


def costs(home: Path) -> Iterator[Finding]:
    """What is said by default about one row and about each of a hundred, worked out and written, in us."""
    bundle = open_bundle(bundles.locate(home, bundles.CREDIT))
    spec = bundle.spec
    model = OnnxModel(bundle.model_path, spec, bundle.binding, providers=CPU)
    quantifier = quantifier_of(bundle, providers=CPU, threads=1)
    assert quantifier is not None, "the bundle was packaged without measures"
    for count, target in ((1, BUDGET), (100, None)):
        rows = np.ascontiguousarray(bundle.calibration()[0][:count])
        scores, doubt = model.predict(rows), Doubt()

        def say() -> None:
            encode_doubts(spec, quantifier.quantify(rows, scores, doubt))  # noqa: B023 - called in this turn

        each = fastest(say, 2000 // count) / count
        yield Finding(f"in one process, {count} at a time, per row", each * 1e6, "us", target, at_most=True)


def fastest(call: Callable[[], None], calls: int, repetitions: int = 9) -> float:
    """Seconds of one call, in the quickest of some repetitions."""
    found = []
    for _ in range(repetitions):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        found.append((time.perf_counter() - start) / calls)
    return min(found)
