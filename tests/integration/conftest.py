"""Real servers for the promises that only real processes can keep."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import onnxruntime as ort
import pytest

from load_tests.metrics import Accounting, accounting, settled
from load_tests.server import Server, running_server
from models.bundle import Bundle
from models.demo.credit import held_out

Found = TypeVar("Found")

CANDIDATES = ["credit:gbm-2", "credit:linear-1"]


@pytest.fixture(scope="session")
def instances() -> list[dict[str, Any]]:
    """The demo's held-out applications, as a caller posts them."""
    return [instance for instance, _ in held_out()]


@pytest.fixture(scope="module")
def server(demo_home: Path) -> Iterator[Server]:
    """Production with two candidates and two edge workers."""
    config = {"production": "credit:gbm-1", "candidates": CANDIDATES, "server": {"workers": 2}}
    with running_server(config=config, models=demo_home) as started:
        await_shadow(started)
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10) as opened:
        yield opened


def eventually(look: Callable[[], Found], seconds: float = 15.0) -> Found:
    """The first true value of ``look``; its last value once the time is over."""
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def await_shadow(server: Server) -> None:
    """Waits until every candidate is loaded or refused."""

    def loaded() -> bool:
        found = httpx.get(f"{server.url}/models").json()["candidates"]
        return all(candidate["state"] != "loading" for candidate in found)

    assert eventually(loaded, 30), "the shadow did not start"


def books(server: Server) -> Accounting:
    """What the metrics page says now."""
    return accounting(httpx.get(f"{server.url}/metrics").text)


def settled_books(server: Server) -> Accounting:
    """What it says once every answered row has its outcome and nothing moves: counts come 0.1 s late."""
    return settled(server.address, 15.0)


def oracle(bundle: Bundle, instances: list[dict[str, Any]]) -> np.ndarray:
    """Probabilities by ONNX Runtime and plain Python, with nothing of the service in between."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # as the service: threads add trees up in another order
    session = ort.InferenceSession(bundle.model_path, options, providers=["CPUExecutionProvider"])
    features = bundle.manifest.features
    if bundle.manifest.input.layout == "tensor":
        codes = [{word: i for i, word in enumerate(feature.categories)} for feature in features]
        rows = [
            [
                np.nan if (value := row[feature.name]) is None else words[value] if words else value
                for feature, words in zip(features, codes, strict=True)
            ]
            for row in instances
        ]
        feed = {bundle.manifest.input.name: np.array(rows, dtype=np.float32)}
    else:
        types = {"float": np.float32, "int64": np.int64, "string": object}
        blank = {"float": np.nan, "int64": 0, "string": ""}
        feed = {
            feature.name: np.array(
                [
                    [blank[feature.type] if row[feature.name] is None else row[feature.name]]
                    for row in instances
                ],
                dtype=types[feature.type],
            )
            for feature in features
        }
    return np.asarray(session.run([bundle.manifest.output.name], feed)[0])
