"""The shadow's explanations: prepared beside its comparisons, and no candidate stops another's."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from models.gate import parity
from models.packaging import package
from service.adapters.bundles import Loaded
from service.adapters.onnx import OnnxModel, Watchdog
from service.domain.projection import projection
from service.errors import BundleError
from service.sections import ShadowSettings
from service.wiring.reasons import prepare
from tests.models.graphs import tiny
from tests.paths.shadows import World
from tests.paths.witnesses import WitnessWorld

Load = Callable[[str], Loaded]
Published = dict[str, tuple[str | None, str | None]]
SETTINGS = ShadowSettings(explain_rate=1.0, explain_max_evals=300)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loaded(kind: str) -> Loaded:
        small = tiny(kind)
        bundle = package(small.graph, small.manifest, small.material, tmp_path / kind, explain=False)
        model = OnnxModel(bundle.model_path, bundle.spec, bundle.binding, providers=("CPUExecutionProvider",))
        return Loaded(bundle, model, parity(bundle, model))

    return loaded


def prepared(
    production: Loaded,
    candidates: list[Loaded],
    monkeypatch: pytest.MonkeyPatch,
    settings: ShadowSettings = SETTINGS,
) -> tuple[list[World], Published]:
    worlds = [World(monkeypatch) for _ in candidates]
    published: Published = {}
    for world, candidate in zip(worlds, candidates, strict=True):
        world.shadow.project = projection(production.bundle.spec, candidate.bundle.spec)
    prepare(
        production,
        [(each, world.shadow, world.sink) for each, world in zip(candidates, worlds, strict=True)],
        Watchdog(),
        settings,
        lambda tag, method, reason: published.update({tag: (method, reason)}),
    )
    return worlds, published


def explained(world: World, production: Loaded) -> None:
    """Lets the prepared explanations work on all of production's background."""
    rows = production.bundle.background()
    assert world.shadow.explaining is not None
    world.shadow.explaining.explain(rows, production.model.predict(rows), time.monotonic(), 1e9)


@pytest.mark.parametrize("kind", ["tensor", "columns", "image", "regression"])
def test_a_model_of_any_kind_has_the_same_reasons_as_itself(
    load: Load, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    production = load(kind)
    (world,), published = prepared(production, [production], monkeypatch)
    ((method, reason),) = published.values()
    assert (method is not None, reason) == (True, None)
    explained(world, production)
    (found,) = world.sink.reasons
    assert len(found) == len(production.bundle.background())
    assert found.distances.max() == 0
    assert dict(world.sink.lost) == {}


def test_candidates_are_told_apart_by_their_weights_and_not_by_their_layout(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    production = load("columns")
    (same, other), published = prepared(production, [load("tensor"), load("positive")], monkeypatch)
    assert list(published) == ["tiny:tensor", "tiny:positive"]
    for world in (same, other):
        explained(world, production)
    (near,), (far,) = same.sink.reasons, other.sink.reasons
    assert near.features == far.features == ("age", "home", "income")
    assert near.distances.max() < 1e-4
    assert far.distances.mean() > 0.05


def test_cases_are_explained_by_the_same_methods_in_productions_words(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    production = load("columns")
    monkeypatch.setattr(World, "__init__", with_witness(World.__init__))
    (world,), published = prepared(production, [load("positive")], monkeypatch)
    assert world.shadow.witness is not None
    reasons = world.shadow.witness.casebook.reasons
    assert reasons is not None
    rows = production.bundle.background()[:1]
    told = reasons(rows, production.model.predict(rows), float("inf"))
    assert told is not None
    for side in ("production", "candidate"):
        assert set(told[side]["values"]) == {"age", "home", "income"}
        assert told[side]["method"] == published["tiny:positive"][0]
    assert told["production"]["values"] != told["candidate"]["values"]


def with_witness(begin: Callable[..., None]) -> Callable[..., None]:
    def begun(world: World, *arguments: object) -> None:
        begin(world, *arguments)
        world.shadow.witness = WitnessWorld().witness

    return begun


def test_a_candidate_that_cannot_be_explained_says_why_and_holds_up_nobody(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    production, broken = load("tensor"), load("positive")
    monkeypatch.setattr(type(broken.bundle), "certificate", certificate_of(broken))
    (lame, well), published = prepared(production, [broken, production], monkeypatch)
    assert published["tiny:positive"] == (None, "BundleError('the certificate is torn')")
    assert lame.shadow.explaining is None
    assert published["tiny:tensor"][1] is None
    explained(well, production)


def certificate_of(broken: Loaded) -> Callable[[object], None]:
    def certificate(bundle: object) -> None:
        if bundle is broken.bundle:
            raise BundleError("the certificate is torn")

    return certificate


def test_too_few_evaluations_are_the_reason_that_is_shown(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    production = load("image")
    few = SETTINGS.model_copy(update={"explain_max_evals": 2})
    (world,), published = prepared(production, [production], monkeypatch, few)
    method, reason = published["tiny:image"]
    assert method is None
    assert reason is not None
    assert "max_evals 2 is too few" in reason
    assert world.shadow.explaining is None
