"""Clients that others wrote, unchanged, and the page for people."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from load_tests.server import Server, running_server
from models.bundle import Bundle
from tests.integration.conftest import await_shadow, settled_books

with warnings.catch_warnings():  # gevent's own imports use what others have deprecated
    warnings.simplefilter("ignore")
    import tritonclient.http as triton
    from tritonclient.utils import InferenceServerException

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def server(demo_home: Path) -> Iterator[Server]:
    config = {"production": "credit:gbm-1", "candidates": ["credit:gbm-2"]}
    with running_server(config=config, models=demo_home) as started:
        await_shadow(started)
        yield started


@pytest.fixture
def native(server: Server, instances: list[dict[str, Any]]) -> np.ndarray:
    """Probabilities of the first ten applications, as /predict says them."""
    answer = httpx.post(f"{server.url}/predict", json={"instances": instances[:10]}).json()
    return np.array([list(p["probabilities"].values()) for p in answer["predictions"]], dtype=np.float32)


def test_bentomls_own_client_works_unchanged(
    server: Server, instances: list[dict[str, Any]], native: np.ndarray
) -> None:
    program = """
import json, sys, bentoml
with bentoml.SyncHTTPClient(sys.argv[1]) as client:
    assert client.is_ready()
    print(json.dumps(client.predict(instances=json.loads(sys.argv[2]))))
"""  # in a process of its own: the client leaves a temporary directory behind
    command = [sys.executable, "-c", program, server.url, json.dumps(instances[:10])]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    found = [list(p["probabilities"].values()) for p in answer["predictions"]]
    np.testing.assert_array_equal(np.array(found, dtype=np.float32), native)


def test_bentomls_own_client_may_ask_why_and_how_sure(
    server: Server, instances: list[dict[str, Any]]
) -> None:
    program = """
import json, sys, bentoml
with bentoml.SyncHTTPClient(sys.argv[1]) as client:
    asked = {"explain": {"top": 3}, "uncertainty": {"confidence": 0.8}}
    print(json.dumps(client.predict(instances=json.loads(sys.argv[2]), **asked)))
"""
    command = [sys.executable, "-c", program, server.url, json.dumps(instances[:1])]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    (told,) = answer["predictions"]
    assert told["uncertainty"]["confidence"] == 0.8
    assert told["explanation"]["method"] == "tree-exact"


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_tritonclient_works_unchanged(
    server: Server, instances: list[dict[str, Any]], native: np.ndarray, binary: bool
) -> None:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("credit")
        assert client.is_model_ready("credit", "gbm-1")
        assert client.get_server_metadata()["name"] == "understudy"
        metadata = client.get_model_metadata("credit")
        inputs = []
        for entry in metadata["inputs"]:
            values = [row[entry["name"]] for row in instances[:10]]
            tensor = triton.InferInput(entry["name"], [10], entry["datatype"])
            tensor.set_data_from_numpy(column(values, entry["datatype"]), binary_data=binary)
            inputs.append(tensor)
        outputs = [
            triton.InferRequestedOutput(name, binary_data=binary) for name in ("label", "probabilities")
        ]
        answer = client.infer("credit", inputs, outputs=outputs, request_id="mine")
        assert answer.get_response()["id"] == "mine"
        np.testing.assert_array_equal(answer.as_numpy("probabilities"), native)
        labels = [word.decode() if isinstance(word, bytes) else word for word in answer.as_numpy("label")]
        assert labels == [("bad", "good")[int(row[1] >= 0.5)] for row in native]
        with pytest.raises(InferenceServerException, match="Home"):
            client.infer("credit", inputs[:1])


def test_kserve_v1_answers_the_same(
    server: Server, instances: list[dict[str, Any]], native: np.ndarray
) -> None:
    answer = httpx.post(f"{server.url}/v1/models/credit:predict", json={"instances": instances[:10]})
    found = [list(p["probabilities"].values()) for p in answer.json()["predictions"]]
    np.testing.assert_array_equal(np.array(found, dtype=np.float32), native)
    assert answer.headers["x-model-arm"] == "production"


def test_every_protocol_is_mirrored_and_counted(
    server: Server, instances: list[dict[str, Any]], native: np.ndarray
) -> None:
    before = settled_books(server)
    packed = {"name": "input", "shape": [1, 13], "datatype": "FP32", "data": [0.0] * 13}
    packed["data"] = [1, 5, 60, 30, 1, 0, 0, 40, 100, 0, 0, 1000, 1500]
    assert httpx.post(f"{server.url}/v2/models/credit/infer", json={"inputs": [packed]}).status_code == 200
    httpx.post(f"{server.url}/v1/models/credit:predict", json={"instances": instances[:2]})
    httpx.post(f"{server.url}/predict", json={"instances": instances[:3]})
    after = settled_books(server).since(before)
    assert after.answered == 6
    assert after.outcomes["credit:gbm-2"]["compared"] == 6
    page = httpx.get(f"{server.url}/metrics").text
    for route in ("/predict", "/v1/models/{model}:predict", "/v2/models/{model}/infer"):
        assert f'understudy_requests_total{{code="200",route="{route}"}}' in page


@pytest.mark.system("chromium")
def test_the_page_for_people_lists_every_route(server: Server, tmp_path: Path) -> None:
    found = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=15000", "--dump-dom", f"{server.url}/",
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    ).stdout  # fmt: skip
    documented = httpx.get(f"{server.url}/docs.json").json()["paths"]
    assert len(documented) > 15
    for path in documented:
        assert f'data-path="{path}"' in found, path


def column(values: list[Any], datatype: str) -> np.ndarray:
    if datatype == "BYTES":
        return np.array(["" if value is None else value for value in values], dtype=np.object_)
    kind = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64}[datatype]
    return np.array([np.nan if value is None else value for value in values], dtype=kind)


def test_bundles_of_every_kind_are_served(demo_home: Path, demo_bundle: Any) -> None:
    for tag, key in (
        ("digits:mlp-1", "probabilities"),
        ("diabetes:gbr-1", "value"),
        ("credit:linear-1", "probabilities"),
    ):
        bundle: Bundle = demo_bundle(tag)
        config = {"production": tag, "candidates": []}
        with running_server(config=config, models=demo_home) as server:
            example = httpx.get(f"{server.url}/docs.json").json()["components"]["schemas"]["PredictRequest"]
            answer = httpx.post(f"{server.url}/predict", json=example["example"]).json()
            inputs, outputs = bundle.golden()
            found = answer["predictions"][0][key]
            assert np.isfinite(list(found.values()) if isinstance(found, dict) else found).all()
            if bundle.spec.schema.layout != "columns":
                shape = [1, *(bundle.spec.schema.shape or inputs.shape[1:])]
                tensor = {"name": bundle.binding.inputs[0], "shape": shape, "datatype": "FP32"}
                body = {"inputs": [{**tensor, "data": inputs[0].tolist()}], "outputs": [{"name": key}]}
                path = f"{server.url}/v2/models/{bundle.spec.name}/infer"
                served = httpx.post(path, json=body).json()["outputs"][0]["data"]
                np.testing.assert_allclose(served, outputs[0], rtol=1e-4, atol=1e-4)
