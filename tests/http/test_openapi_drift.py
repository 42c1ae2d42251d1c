"""What ``/drift`` answers is what its documentation says, whatever is missing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from service.domain.binning import Variable
from service.domain.drift.document import Watched, drift_document
from service.domain.drift.measures import MEASURES
from service.domain.drift.slots import WINDOWS, Window
from service.http import openapi
from service.http.openapi_schemas import Described
from tests.http import drifts
from tests.http.conform import faults
from tests.http.fakes import CREDIT, MAX_ROWS, binding

NOW = 1_800_000_000.0
HOMES = Variable("feature:Home", (900, 100, 0), ("is rent", "missing", "unseen"), 0, 1, (2,))
UNKNOWN = Variable("label", (0, 0, 0), ("is bad", "missing", "unseen"), 0, 1, (2,))
"""Of which the bundle holds nothing."""
COUNTED = Window(NOW, np.array([2_000.0, 300.0, 0.0, 900.0, 700.0]))
SEEN = {name: Window(NOW, np.zeros(5)) for name in WINDOWS} | {"1h": COUNTED, "start": COUNTED}
MODELS_SEEN = {
    "nothing": (),
    "production": (Watched("credit:gbm-1", "production", (HOMES,), None, SEEN, tells=True),),
    "a candidate": (
        Watched("credit:gbm-1", "production", (HOMES,), NOW, SEEN, tells=False),
        Watched("credit:gbm-2", "candidate", (UNKNOWN,), NOW, SEEN, tells=True),
    ),
}


def wrong(body: dict[str, Any]) -> list[str]:
    """What is not as documented."""
    about = Described(CREDIT, binding(CREDIT), MAX_ROWS)
    made = json.loads(json.dumps(openapi.document(about, "1", {"/drift": ["GET"]})))
    answer = made["paths"]["/drift"]["get"]["responses"]["200"]["content"]["application/json"]
    return list(faults(made, answer["schema"], json.loads(json.dumps(body))))


@pytest.mark.parametrize("models", MODELS_SEEN.values(), ids=MODELS_SEEN)
def test_drift_is_as_documented(models: tuple[Watched, ...]) -> None:
    body = drift_document(models, NOW, reason=None if models else "nobody counts")
    assert wrong(body) == []
    for model in body["models"]:
        assert [model["windows"][name]["rows"] for name in WINDOWS] == [2_300, 0, 0, 2_300]


@pytest.mark.parametrize("body", [drifts.drift(), drifts.quiet(), drifts.nothing()])
def test_the_drift_that_the_console_is_tested_with_is_as_documented(body: dict[str, Any]) -> None:
    assert wrong(body) == []
    assert drifts.MEASURES.keys() == {each.name for each in MEASURES}


def test_what_is_not_documented_is_found_out() -> None:
    body = drifts.drift()
    body["models"][0]["windows"]["1h"]["variables"][0]["bins"][0]["live"] = "many"
    assert wrong(body) != []
    assert wrong({**drifts.drift(), "more": 1}) != []
