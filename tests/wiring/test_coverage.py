"""What watches live coverage is built from whatever bundles there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.adapters.bundles import Loaded
from service.errors import BundleError
from service.settings import Environment, Settings
from service.wiring.coverage import coverage, watched_models


class Damaged:
    """A bundle whose measures cannot be read."""

    def uncertainty(self) -> dict[str, Any]:
        raise BundleError("m:1: its measures cannot be read")


class Silent:
    """A metrics family that nobody reads."""

    def counted(self, counts: Any) -> None: ...


def test_a_bundle_whose_measures_cannot_be_used_costs_its_coverage_alone(tmp_path: Path) -> None:
    loaded: Any = Loaded(Damaged(), None, None)  # type: ignore[arg-type]  # nothing else is asked
    metrics: Any = Silent()
    settings, environment = Settings(production="m:1"), Environment(home=tmp_path)
    watched = watched_models(settings, environment, loaded, [None, loaded])
    found = coverage(settings, environment, watched, metrics)
    assert found.watched == {}
    assert found.judged_by(0) == ""
