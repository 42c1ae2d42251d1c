"""The Explainer's models: each loaded once, refused by name, and given up when nobody waits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from models.gate import parity
from models.packaging import package
from service.adapters import bundles
from service.adapters.bundles import Loaded
from service.adapters.onnx import OnnxModel
from service.domain.explainers.game import Ask, Unsuitable
from service.errors import BundleError, DeadlineError
from service.paths.explainer import TURN, Turn
from service.settings import Environment, Settings
from service.wiring.explainer import LoadedModels
from tests.models.graphs import tiny


class World:
    """A store that holds one bundle, under any version but ``broken``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        small = tiny("tensor")
        bundle = package(small.graph, small.manifest, small.material, folder / "bundle", explain=False)
        model = OnnxModel(bundle.model_path, bundle.spec, bundle.binding, providers=("CPUExecutionProvider",))
        self.bundle = Loaded(bundle, model, parity(bundle, model))
        self.loaded: list[str] = []
        self.published: list[dict[str, Any]] = []
        monkeypatch.setattr(bundles, "load", self.load)
        self.models = LoadedModels(
            Settings(production="tiny:1", candidates=("tiny:2", "tiny:broken")),
            Environment(),
            lambda status: self.published.append(dict(status)),
        )

    def load(self, tag: str, **_: Any) -> Loaded:
        self.loaded.append(tag)
        if tag.endswith("broken"):
            raise BundleError("it fails parity")
        return self.bundle


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_a_model_is_loaded_once_for_whatever_is_asked_of_it(world: World) -> None:
    for tag in ("tiny:1", "tiny:2"):
        world.models.prepare(tag)
        world.models.own(tag)
    for method in ("auto", "auto", "linear-exact"):
        world.models.beside_production("tiny:2", method)
    assert sorted(world.loaded) == ["tiny:1", "tiny:2"]
    assert set(world.published[-1]) == {"tiny:1", "tiny:2"}
    assert "linear-exact" in world.published[0]["tiny:1"]["methods"]


def test_a_candidate_that_cannot_be_loaded_is_refused_by_name_and_not_loaded_again(world: World) -> None:
    for _ in range(3):
        with pytest.raises(Unsuitable, match="tiny:broken cannot be explained: it fails parity"):
            world.models.own("tiny:broken")
        with pytest.raises(Unsuitable, match="tiny:broken cannot be explained: it fails parity"):
            world.models.beside_production("tiny:broken", "auto")
    assert world.loaded.count("tiny:broken") == 1


def test_a_method_that_compares_nothing_is_refused_by_name(world: World) -> None:
    with pytest.raises(Unsuitable, match="not by 'lime'"):
        world.models.beside_production("tiny:2", "lime")


def test_a_method_stops_in_the_middle_when_nobody_waits_for_it_any_more(world: World) -> None:
    explain = world.models.own("tiny:1").offer.explainers["permutation"]
    rows, ask = world.bundle.bundle.background()[:1], Ask(max_evals=2000)
    looks = 0

    def wanted() -> bool:
        nonlocal looks
        looks += 1
        return looks < 2

    due = time.monotonic() + 60
    turn = TURN.set(Turn(due, wanted))
    try:
        with pytest.raises(DeadlineError, match="nobody waits"):
            explain(rows, ask, due)
    finally:
        TURN.reset(turn)
    assert looks == 2
