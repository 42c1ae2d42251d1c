"""What an explanation adds to a prediction, as a caller of ``/predict`` sees it.

The demo's service (production ``credit:gbm-1``, its shadow and its Explainer) on one core. Runs with and
without ``"explain": true`` take turns. The target is held against an open loop at 30 % load, because that is
closest to what a caller feels: a closed loop's median is mostly the wait for the other connections.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
from load_tests.payloads import Codec, Explained, Native
from load_tests.report import Finding
from load_tests.sections import Circumstances, Section

POSITIVE = "good"
WITH, ALONE = "/predict, explained", "/explain"
CODECS: dict[str, Codec] = {
    WITHOUT: Native(POSITIVE),
    WITH: Explained(POSITIVE),
    ALONE: Explained(POSITIVE, "/explain"),
}
RATIO = 1.5
_PAIR = (WITHOUT, WITH)
_SHAPES = [
    *((1, load, _PAIR) for load in (OPEN, SINGLE, EIGHT)),
    *((rows, EIGHT, _PAIR) for rows in (10, 100)),
    (BATCH, SINGLE, (WITHOUT, WITH, ALONE)),
]


def predictions(circumstances: Circumstances) -> Section:
    """``/predict`` with and without an explanation, and a thousand rows explained in one request."""
    cases, rate = measured(CODECS, _SHAPES, circumstances)
    section = Section("/predict with and without an explanation", HEADER)
    section.how = f"{told(rate, circumstances.quick)} The target is judged by the open loop's median."
    section.findings = list(findings(cases))
    section.lines = [line for case in cases for line in case.lines()]
    section.measured = [case.as_dict() for case in cases]
    return section


def findings(cases: Sequence[Case]) -> Iterator[Finding]:
    """What was promised about explained predictions."""
    for case in cases:
        target = RATIO if case.load.open else None
        yield Finding(f"{case.name}: p50 explained / plain", case.ratio(), "x", target, at_most=True)
        if case.rows == BATCH:
            for form in (WITH, ALONE):
                name = f"{BATCH:,} rows in one request, {form}"
                yield Finding(name, case.rows_per_second(form), "rows/s")
    yield Finding("failed answers", sum(case.failed for case in cases), "", 0, at_most=True)
