"""One worker's edge, built from bundles in the store as the service builds it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bentoml
import orjson
import pytest

from models import store
from service.http.problem import Problem
from service.settings import Environment, Settings
from service.wiring.edge import EdgeBuilder, EdgeProcess
from service.wiring.shared import drift_path
from tests.wiring.bundles import CPU, tiny_bundle

ROW = {"age": 2, "home": "rent", "income": 0.5}
BUNDLES: dict[str, dict[str, Any]] = {
    "sure": {},
    "plain": {"quantify": False},
    "abstaining": {"abstain": ("out_of_domain",)},
}


@pytest.fixture(scope="module", autouse=True)
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every bundle in the run's own model store."""
    folder = tmp_path_factory.mktemp("bundles")
    for version, made in BUNDLES.items():
        store.save(tiny_bundle(folder, version=version, **made).bundle.path)
    yield
    for version in BUNDLES:
        bentoml.models.delete(f"tiny:{version}")


def builder(home: Path, production: str, *candidates: str, **settings: Any) -> EdgeBuilder:
    made = {
        "production": f"tiny:{production}",
        "candidates": tuple(f"tiny:{version}" for version in candidates),
        "feedback": {"enabled": False},
        **settings,
    }
    return EdgeBuilder(Settings.model_validate(made), Environment(home=home, providers=CPU), 0)


def predict(edge: EdgeProcess, **request: Any) -> dict[str, Any]:
    return asyncio.run(edge.predict({"instances": [ROW], **request}))


def page(edge: EdgeProcess, path: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(asyncio.run(edge.edge.routes[path].pages["GET"]()).body)
    return found


def test_a_service_of_bentoml_that_depends_on_it_may_ask_why_and_how_sure(tmp_path: Path) -> None:
    edge = builder(tmp_path, "sure").build()
    (plain,) = predict(edge, explain=None, uncertainty=None)["predictions"]
    assert set(plain) == {"label", "probabilities"}
    (told,) = predict(edge, explain={"top": 2}, uncertainty={"confidence": 0.8})["predictions"]
    assert told["uncertainty"]["confidence"] == 0.8
    assert told["explanation"]["method"] == "linear-exact"
    assert len(told["explanation"]["values"]) == 2


def test_production_that_cannot_say_what_every_answer_is_to_say_is_unfit(tmp_path: Path) -> None:
    """Else every caller who asks for nothing would be refused."""
    always = {"uncertainty": {"always": True}}
    assert "uncertainty.always: tiny:plain" in str(builder(tmp_path, "plain", **always).build().edge.unfit)
    edge = builder(tmp_path, "sure", **always).build()
    assert predict(edge)["predictions"][0]["uncertainty"]["confidence"] == 0.9
    assert "uncertainty" not in predict(edge, uncertainty=False)["predictions"][0]
    plain = builder(tmp_path, "plain").build()
    assert "uncertainty" not in predict(plain)["predictions"][0]


@pytest.mark.parametrize(
    ("production", "candidates", "abstains"),
    [
        ("sure", (), False),
        ("sure", ("plain", "missing"), False),
        ("abstaining", (), True),
        ("sure", ("missing", "abstaining"), True),
    ],
)
def test_that_a_label_may_be_missing_is_documented_where_any_model_may_leave_it_out(
    production: str, candidates: tuple[str, ...], abstains: bool, tmp_path: Path
) -> None:
    edge = builder(tmp_path, production, *candidates).build()
    outputs = [output["name"] for output in page(edge, "/v2/models/tiny")["outputs"]]
    assert ("abstained" in outputs) == abstains
    label = page(edge, "/docs.json")["components"]["schemas"]["Prediction"]["properties"]["label"]
    assert (None in label["enum"]) == abstains


def test_pages_show_what_each_bundle_says_of_its_measures(tmp_path: Path) -> None:
    edge = builder(tmp_path, "sure", "plain", "missing").build()
    found = page(edge, "/models/tiny/sure/uncertainty")
    assert found["chosen"]["region"] == "lac"
    for version in ("plain", "missing"):
        with pytest.raises(Problem) as caught:
            page(edge, f"/models/tiny/{version}/uncertainty")
        assert caught.value.status == 404
    shown = page(edge, "/models")
    assert shown["production"]["uncertainty"]["coverage"]["labelled"] == 0
    assert shown["production"]["uncertainty"]["coverage"]["adaptive"] is None
    assert [candidate["state"] for candidate in shown["candidates"]] == ["loading", "loading"]


def test_what_the_shadow_says_of_drift_is_answered_as_it_is(tmp_path: Path) -> None:
    edge = builder(tmp_path, "plain").build()
    missing = page(edge, "/drift")
    assert missing["models"] == []
    assert "the shadow" in missing["reason"]
    written = drift_path(Settings(production="tiny:plain"), Environment(home=tmp_path))
    written.write_bytes(b'{"models": [ "anything" ]}')
    assert asyncio.run(edge.edge.routes["/drift"].pages["GET"]()).body == written.read_bytes()


def test_where_nobody_is_to_count_drift_the_page_says_so(tmp_path: Path) -> None:
    drift_path(Settings(production="tiny:plain"), Environment(home=tmp_path)).write_bytes(
        b'{"models": ["of an earlier start"]}'
    )
    found = page(builder(tmp_path, "plain", drift={"enabled": False}).build(), "/drift")
    assert found["models"] == []
    assert "drift.enabled" in found["reason"]


def test_whether_production_may_serve_is_exported(tmp_path: Path) -> None:
    for version, ready in (("plain", 1.0), ("missing", 0.0)):
        edge = builder(tmp_path / version, version).build()
        text = asyncio.run(edge.edge.routes["/metrics"].pages["GET"]()).body.decode()
        said = f'understudy_model_ready{{model="tiny",role="production",version="{version}"}} {ready}'
        assert said in text
        assert (edge.edge.unfit is None) == bool(ready)


@pytest.mark.parametrize("adapt", [False, True])
def test_nobody_looks_for_what_labels_taught_where_nothing_is_to_follow_them(
    adapt: bool, tmp_path: Path
) -> None:
    edge = builder(tmp_path, "sure", uncertainty={"adapt": adapt}, feedback={"enabled": adapt}).build()
    assert (edge.following is not None) == adapt
