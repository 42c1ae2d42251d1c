"""An edge says how sure it is in the time it can spare, with measures that labels may have moved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from service.adapters.bundles import Loaded
from service.domain.uncertainty.adaptation import GRID
from service.domain.uncertainty.measure import Asked, Columns, Unfitting
from service.domain.uncertainty.quantifier import Doubt
from service.errors import BundleError
from service.wiring.doubting import MOST_ROWS, Doubts, doubting, doubts_of
from tests.wiring.bundles import CPU, tiny_bundle


@dataclass(frozen=True)
class Failing:
    """A measure that no row agrees with."""

    def columns(self, asked: Asked) -> Columns:
        raise ZeroDivisionError(f"over {len(asked.rows)} rows")


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    return tiny_bundle(tmp_path)


def doubts(loaded: Loaded) -> Doubts:
    found = doubts_of(loaded, CPU, 1)
    assert found is not None
    return found


def learnt(**changes: Any) -> dict[str, Any]:
    """What the shadow says once labels have shown that everything is possible."""
    return {"scores": [], "levels": [1e-9] * len(GRID), "labelled": 9, "delay": 0.0, **changes}


def set_sizes(doubts: Doubts, loaded: Loaded) -> list[int]:
    rows = loaded.bundle.background()[:10]
    found = doubts.quantify(rows, loaded.model.predict(rows), Doubt(confidence=0.5))
    sizes: list[int] = found.columns["set"].sum(axis=1).tolist()
    return sizes


def test_a_bundle_without_measures_has_no_doubts(tmp_path: Path) -> None:
    assert doubts_of(tiny_bundle(tmp_path, quantify=False), CPU, 1) is None


def test_so_many_rows_are_quantified_at_a_time_as_the_event_loop_can_spare(loaded: Loaded) -> None:
    hurried, patient = (doubting(loaded, doubts(loaded), seconds) for seconds in (0.0, 10.0))
    assert (hurried.rows, hurried.rows_extra) == (1, 1)
    assert (patient.rows, patient.rows_extra) == (MOST_ROWS, MOST_ROWS)
    rows = loaded.bundle.background()[:5]
    found = patient.quantify(rows, loaded.model.predict(rows), Doubt())
    assert (len(found.columns["set"]), found.confidence) == (5, 0.9)


@pytest.mark.parametrize("reasons", [(), ("ambiguous",), ("out_of_domain",), ("ambiguous", "out_of_domain")])
def test_labels_are_taken_back_for_the_reasons_of_the_manifest(reasons: Any, tmp_path: Path) -> None:
    loaded = tiny_bundle(tmp_path, abstain=reasons)
    found = doubting(loaded, doubts(loaded), 0.002)
    assert (found.ambiguous, found.out_of_domain) == ("ambiguous" in reasons, "out_of_domain" in reasons)
    assert found.abstains == bool(reasons)


def test_what_this_models_measures_cannot_say_is_refused_whoever_asks(loaded: Loaded) -> None:
    """A canary is asked what production's measures can say; nobody checked that against its own."""
    measures = doubts(loaded)
    rows = loaded.bundle.background()[:2]
    for doubt in (Doubt(region="absolute"), Doubt(domain="reconstruction")):
        with pytest.raises(Unfitting):
            measures.check(doubt)
        with pytest.raises(Unfitting):
            measures.quantify(rows, loaded.model.predict(rows), doubt)


def test_a_bundle_whose_measures_fail_on_its_own_rows_may_not_serve(loaded: Loaded) -> None:
    found = doubts(loaded)
    quantifier = found.quantifier
    broken = {**quantifier.quantities, "domain": dict.fromkeys(quantifier.quantities["domain"], Failing())}
    found.quantifier = replace(quantifier, quantities=broken)
    with pytest.raises(BundleError, match="tiny:one: its measures of uncertainty fail: ZeroDivision"):
        doubting(loaded, found, 0.002)


def test_answers_are_as_labels_have_taught_and_as_packaged_when_that_is_forgotten(loaded: Loaded) -> None:
    found = doubts(loaded)
    packaged = set_sizes(found, loaded)
    assert min(packaged) < 2
    found.follow(learnt())
    assert set_sizes(found, loaded) == [2] * 10
    found.follow(None)
    assert set_sizes(found, loaded) == packaged


@pytest.mark.parametrize("damage", [{"levels": [2.0]}, {"scores": ["x"]}, {"labelled": None}])
def test_what_was_learnt_and_is_damaged_is_not_followed(
    damage: dict[str, Any], loaded: Loaded, caplog: pytest.LogCaptureFixture
) -> None:
    found = doubts(loaded)
    packaged = set_sizes(found, loaded)
    found.follow(learnt())
    found.follow(learnt(**damage))
    assert set_sizes(found, loaded) == packaged
    assert "tiny:one" in caplog.text
