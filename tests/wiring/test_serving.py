"""A bundle becomes a model that answers callers; a candidate's sees production's rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.adapters.bundles import Loaded
from service.adapters.edge_metrics import EdgeMetrics
from service.adapters.prometheus import new_registry
from service.domain.uncertainty.quantifier import Doubt
from service.settings import Environment, Settings
from service.wiring.doubting import Doubts
from service.wiring.following import Following
from service.wiring.serving import ServingBuilder
from tests.wiring.bundles import CPU, RECONSTRUCTION, tiny_bundle


class FakeFollowing(Following):
    """Remembers whom it was told to let follow."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.added: list[str] = []

    def add(self, tag: str, doubts: Doubts) -> None:
        self.added.append(tag)


@dataclass
class World(ServingBuilder):
    """Loads what the test packaged in place of what is in the store."""

    home: Path
    adapt: bool = False
    made: dict[str, Loaded] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settings = {
            "production": "tiny:one",
            "candidates": ("tiny:two",),
            "uncertainty": {"adapt": self.adapt},
        }
        self.follows = FakeFollowing(self.home / "adaptation.json")
        super().__init__(
            Settings.model_validate(settings),
            Environment(home=self.home, providers=CPU),
            EdgeMetrics(new_registry(), "tiny", "one", "0"),
            self.follows,
        )

    def package(self, version: str, **bundle: Any) -> Loaded:
        loaded = self.made[f"tiny:{version}"] = tiny_bundle(self.home, version=version, **bundle)
        return loaded

    def load(self, tag: str) -> Loaded:
        return self.made[tag]


def test_production_without_measures_answers_without_doubt(tmp_path: Path) -> None:
    world = World(tmp_path)
    loaded = world.package("one", quantify=False)
    serving = world.production(loaded, world.doubts(loaded))
    assert (serving.doubting, serving.answerer, serving.spec.tag) == (None, 0, "tiny:one")


@pytest.mark.parametrize("graphs", [None, RECONSTRUCTION])
def test_a_canary_whose_measures_run_a_graph_is_quantified_beside_the_event_loop(
    graphs: Any, tmp_path: Path
) -> None:
    """Numpy cannot hang; a candidate's graph may."""
    world = World(tmp_path)
    loaded = world.package("one", graphs=graphs)
    world.package("two", graphs=graphs)
    canary = world.canary(loaded, "tiny:two")
    production = world.production(loaded, world.doubts(loaded))
    assert canary.serving.answerer == 1
    assert canary.serving.doubting is not None
    assert production.doubting is not None
    assert (canary.serving.doubting.beside is not None) == (graphs is not None)
    assert production.doubting.beside is None
    rows = loaded.bundle.background()[:3]
    found = canary.serving.doubting.quantify(rows, loaded.model.predict(rows), Doubt())
    assert found.columns["in_domain"].shape == (3,)


@pytest.mark.parametrize("adapt", [False, True])
def test_labels_are_followed_where_the_settings_say_so(adapt: bool, tmp_path: Path) -> None:
    world = World(tmp_path, adapt)
    loaded = world.package("one")
    world.package("two")
    world.production(loaded, world.doubts(loaded))
    world.canary(loaded, "tiny:two")
    assert world.follows.added == (["tiny:one", "tiny:two"] if adapt else [])
