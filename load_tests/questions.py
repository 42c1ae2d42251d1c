"""The demo's held-out applications as questions whose right answers are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from load_tests import bundles
from load_tests.contestants import Question
from load_tests.payloads import Codec, reference
from load_tests.wire import Request, request


def credit_questions(home: Path, codec: Codec, rows: int, count: int) -> list[Question]:
    """``count`` requests of ``rows`` applications each, with what ``credit:gbm-1`` answers to them."""
    from models.canonical import canonical_rows
    from models.demo.credit import held_out
    from models.manifest import read_manifest

    model = bundles.locate(home, bundles.CREDIT)
    schema = read_manifest(model / "manifest.yaml").spec.schema
    instances = np.array([instance for instance, _ in held_out()], dtype=object)
    found = []
    for batch in batches(instances, rows, count):
        table = {name: [instance[name] for instance in batch] for name in schema.names()}
        expected = reference(model, canonical_rows(schema, table).astype(np.float32))
        found.append(Question(codec.request(batch.tolist()), (expected,)))
    return found


def batches(rows: NDArray[Any], size: int, count: int) -> Iterator[NDArray[Any]]:
    """``count`` batches of consecutive rows, from the start again when they run out."""
    for number in range(count):
        yield rows[np.arange(number * size, (number + 1) * size) % len(rows)]


def explain_by(method: str) -> Callable[[int], Request]:
    """The n-th request for an explanation by ``method``; no two are alike, so that none is known already."""
    from models.demo.credit import held_out

    instances = [instance for instance, _ in held_out()]

    def make(number: int) -> Request:
        document = {
            "instances": [instances[number % len(instances)]],
            "explain": {"method": method, "seed": number},
        }
        return request(
            "POST", "/explain", json.dumps(document).encode(), {"Content-Type": "application/json"}
        )

    return make
