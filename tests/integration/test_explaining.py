"""Explanations as a user meets them: over HTTP, from the served model, the Explainer in its own process."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from collections import Counter
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from load_tests.server import Server
from tests.http.conform import faults
from tests.integration.conftest import await_shadow, eventually

pytestmark = pytest.mark.process


@pytest.fixture(scope="module", autouse=True)
def methods(server: Server) -> dict[str, Any]:
    """What ``/models`` says of production's explanations, once the Explainer has prepared them."""

    def prepared() -> dict[str, Any]:
        found = httpx.get(f"{server.url}/models").json()
        ready = all(each["explanations"] for each in (found["production"], *found["candidates"]))
        return found["production"]["explanations"] if ready else {}

    methods = eventually(prepared, 60)
    assert methods, "the Explainer did not start"
    return methods


def explain(client: httpx.Client, instances: list[dict[str, Any]], **options: Any) -> httpx.Response:
    return client.post(
        "/explain", json={"instances": instances, "explain": {"deadline_ms": 20_000, **options}}
    )


def log_odds(prediction: dict[str, Any]) -> float:
    shares = prediction["probabilities"]
    return math.log(shares["good"] / shares["bad"])


def test_a_prediction_comes_with_reasons_that_add_up_to_it(
    client: httpx.Client, instances: list[dict[str, Any]]
) -> None:
    answer = client.post("/predict", json={"instances": instances[:40], "explain": True}).json()
    for sent, prediction in zip(instances[:40], answer["predictions"], strict=True):
        why = prediction["explanation"]
        assert (why["method"], why["exact"], why["label"]) == ("tree-exact", True, "good")
        assert why["data"] == sent
        total = why["base_value"] + sum(why["values"].values())
        assert total == pytest.approx(log_odds(prediction), abs=2e-5)
        assert why["additivity_gap"] < 1e-6


def test_every_method_that_is_offered_answers_and_every_other_says_why_not(
    client: httpx.Client, instances: list[dict[str, Any]], methods: dict[str, Any]
) -> None:
    exact = explain(client, instances[:1]).json()["explanations"][0]
    assert {"tree-exact", "permutation", "lime", "occlusion", "counterfactual", "anchor"} <= set(
        methods["methods"]
    )
    for method in set(methods["methods"]) - {"kernel"}:  # shap alone takes seconds to load
        (why,) = explain(client, instances[:1], method=method).json()["explanations"]
        assert why["method"] == method
        if method == "permutation":
            for name, value in exact["values"].items():
                assert abs(why["values"][name] - value) <= 5 * why["standard_errors"][name]
    for method, reason in methods["refused"].items():
        refused = explain(client, instances[:1], method=method)
        assert refused.status_code == 422
        assert reason in refused.json()["detail"]


def test_a_counterfactual_that_is_sent_back_is_decided_otherwise(
    client: httpx.Client, instances: list[dict[str, Any]]
) -> None:
    before = client.post("/predict", json={"instances": instances[:1]}).json()["predictions"][0]["label"]
    detail = explain(client, instances[:1], method="counterfactual").json()["explanations"][0]["detail"]
    assert detail["found"]
    changed = instances[0] | {name: change["to"] for name, change in detail["changes"].items()}
    after = client.post("/predict", json={"instances": [changed]}).json()["predictions"][0]["label"]
    assert after == detail["label"] != before


def test_the_same_question_gets_the_same_answer_from_every_worker(
    server: Server, instances: list[dict[str, Any]]
) -> None:
    def ask() -> dict[str, Any]:
        with httpx.Client(base_url=server.url, timeout=20) as fresh:  # perhaps at another worker
            (why,) = explain(fresh, instances[5:6], method="permutation", max_evals=500).json()[
                "explanations"
            ]
        return why | {"elapsed_ms": None}

    assert ask() == ask() == ask()


def test_pictures_and_pages_are_drawn(client: httpx.Client, instances: list[dict[str, Any]]) -> None:
    for accept in ("image/svg+xml", "image/png", "text/html"):
        answer = client.post(
            "/explain",
            json={"instances": instances[:1], "explain": {"deadline_ms": 20_000}},
            headers={"accept": accept},
        )
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(accept)
        if accept == "image/svg+xml":
            assert "Seniority" in "".join(ElementTree.fromstring(answer.text).itertext())
        elif accept == "image/png":
            assert answer.content.startswith(b"\x89PNG")
        else:
            assert "<script" not in answer.text
            assert "Seniority" in answer.text


def test_production_and_a_candidate_are_compared_by_their_reasons(
    client: httpx.Client, instances: list[dict[str, Any]]
) -> None:
    for candidate, theirs in (("credit:gbm-2", "tree-exact"), ("credit:linear-1", "linear-exact")):
        answer = client.post(
            "/explain/compare",
            json={"instances": instances[:3], "candidate": candidate, "explain": {"deadline_ms": 20_000}},
        ).json()
        assert answer["production"]["explanations"][0]["method"] == "tree-exact"
        assert answer["candidate"]["explanations"][0]["method"] == theirs
        for row in answer["comparisons"]:
            assert 0 < row["distance"] < 1
            changes = [abs(each["production"] - each["candidate"]) for each in row["moved"]]
            assert changes == sorted(changes, reverse=True)


def test_live_answers_are_as_documented(client: httpx.Client, instances: list[dict[str, Any]]) -> None:
    document = client.get("/docs.json").json()
    body = {"instances": instances[:2], "explain": {"neighbours": 1, "top": 2, "deadline_ms": 20_000}}
    compared = {"instances": instances[:2], "explain": {"deadline_ms": 20_000}}
    found = {
        "Models": client.get("/models"),
        "ShadowReport": client.get("/shadow/report"),
        "PredictResponse": client.post("/predict", json=body),
        "ExplainResponse": client.post("/explain", json=body),
        "CompareResponse": client.post("/explain/compare", json=compared),
    }
    for name, answer in found.items():
        schema = {"$ref": f"#/components/schemas/{name}"}
        assert list(faults(document, schema, answer.json())) == [], name


def test_kserve_explains_too_and_says_who_answered_in_headers(
    client: httpx.Client, instances: list[dict[str, Any]]
) -> None:
    answer = client.post("/v1/models/credit:explain", json={"instances": instances[:2]})
    assert [why["method"] for why in answer.json()["explanations"]] == ["tree-exact", "tree-exact"]
    assert answer.headers["x-model-arm"] == "production"


@pytest.mark.parametrize("version", ["gbm-1", "linear-1"])
def test_each_bundle_shows_what_its_model_relies_on_as_a_whole(client: httpx.Client, version: str) -> None:
    views = client.get(f"/models/credit/{version}/global").json()
    names = [entry["feature"] for entry in views["contributions"]["features"]]
    assert set(names[:6]) & {"Income", "Seniority", "Records", "Job"}
    assert views["surrogate"]
    assert views["partial_dependence"]
    assert client.get("/models/credit/nobody/global").status_code == 404


def test_questions_about_the_model_are_no_traffic_and_are_timed_by_method(
    server: Server, client: httpx.Client, instances: list[dict[str, Any]]
) -> None:
    def sample(name: str) -> float:
        page = client.get("/metrics").text
        return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(name))

    eventually(lambda: sample("understudy_predictions_total") > 0)
    before, timed = sample("understudy_predictions_total"), sample("understudy_explain_seconds_count")
    for _ in range(20):
        explain(client, instances[:5])
    assert eventually(lambda: sample("understudy_explain_seconds_count") == timed + 20)
    assert sample("understudy_predictions_total") == before


def test_the_shadow_reports_how_far_reasons_differ(
    server: Server, client: httpx.Client, instances: list[dict[str, Any]]
) -> None:
    await_shadow(server)

    def reported() -> dict[str, Any]:
        client.post("/predict", json={"instances": instances[:400]})
        found = {
            each["candidate"]: each["explanations"]
            for each in client.get("/shadow/report").json()["candidates"]
        }
        return found if all(each["explained"] > 20 for each in found.values()) else {}

    found = eventually(reported, 60)
    assert found, client.get("/shadow/report").text
    assert 0 < found["credit:gbm-2"]["distance"]["mean"] < found["credit:linear-1"]["distance"]["mean"] < 1
    assert len(found["credit:linear-1"]["moved"]) == 5
    assert (
        'understudy_shadow_explanation_distance_count{candidate="credit:gbm-2"}'
        in client.get("/metrics").text
    )


def test_more_explanations_than_fit_are_refused_while_predictions_go_on(
    server: Server, instances: list[dict[str, Any]]
) -> None:
    async def flood() -> tuple[Counter[int], Counter[int], set[bool]]:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:

            async def slow(seed: int) -> httpx.Response:
                options = {"method": "permutation", "max_evals": 20_000, "seed": seed, "deadline_ms": 3_000}
                return await client.post("/explain", json={"instances": instances[:20], "explain": options})

            tasks = [asyncio.create_task(slow(seed)) for seed in range(60)]
            fast = [await client.post("/predict", json={"instances": instances[:1]}) for _ in range(50)]
            slowly = [await task for task in tasks]
        refused = [answer for answer in slowly if answer.status_code == 503]
        return (
            Counter(answer.status_code for answer in fast),
            Counter(answer.status_code for answer in slowly),
            {"retry-after" in answer.headers for answer in refused},
        )

    fast, slowly, told_when = asyncio.run(flood())
    assert fast == {200: 50}
    assert set(slowly) <= {200, 503, 504}
    assert slowly[503] > 0
    assert told_when == {True}


def test_an_explainer_that_is_killed_costs_no_prediction_and_comes_back(
    server: Server, client: httpx.Client, instances: list[dict[str, Any]]
) -> None:
    for pid in server.tree()["explainer"]:
        os.kill(pid, signal.SIGKILL)
    answer = client.post("/predict", json={"instances": instances[:1], "explain": True})
    assert answer.status_code == 200, "an exact explanation needs no Explainer"

    def back() -> bool:
        again = explain(client, instances[:1], method="lime")
        assert again.status_code in (200, 503)
        return again.status_code == 200

    assert eventually(back, 60)
