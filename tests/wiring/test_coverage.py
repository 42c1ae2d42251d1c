"""What watches live coverage is built from whatever bundles there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.adapters.bundles import Loaded
from service.errors import BundleError
from service.settings import Environment, Settings
from service.wiring.coverage import coverage, watched_models
from tests.wiring.bundles import CPU, tiny_bundle


class Damaged:
    """A bundle whose measures cannot be read."""

    def uncertainty(self) -> dict[str, Any]:
        raise BundleError("m:1: its measures cannot be read")


class Heard:
    """What the metrics were told."""

    def __init__(self) -> None:
        self.told: dict[str, float] = {}

    def counted(self, counts: Any) -> None: ...

    def promised(self, tag: str, confidence: float) -> None:
        self.told[tag] = confidence


def test_a_bundle_whose_measures_cannot_be_used_costs_its_coverage_alone(tmp_path: Path) -> None:
    loaded: Any = Loaded(Damaged(), None, None)  # type: ignore[arg-type]  # nothing else is asked
    metrics: Any = Heard()
    settings, environment = Settings(production="m:1"), Environment(home=tmp_path)
    watched = watched_models(settings, environment, loaded, [None, loaded])
    found = coverage(settings, environment, watched, metrics)
    assert found.watched == {}
    assert found.judged_by(0) == ""
    assert metrics.told == {}


def test_what_every_models_regions_promise_is_told_from_the_start(tmp_path: Path) -> None:
    production, candidate = (tiny_bundle(tmp_path, version=version) for version in ("one", "two"))
    settings, environment = Settings(production="tiny:one"), Environment(home=tmp_path, providers=CPU)
    metrics: Any = Heard()
    coverage(settings, environment, watched_models(settings, environment, production, [candidate]), metrics)
    assert metrics.told == {"tiny:one": 0.9, "tiny:two": 0.9}
