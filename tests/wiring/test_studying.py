"""A pair's name: evidence is added up only where it means the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from models.bundle import Bundle
from models.manifest import SliceEntry, ToleranceEntry
from service.domain.evidence.verdict import Rules
from service.sections import VerdictSettings
from service.wiring.studying import pairing_of, rules_of, study_of
from tests.wiring.bundles import tiny_bundle


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    return tiny_bundle(folder).bundle, tiny_bundle(folder, version="two").bundle


def changed(bundle: Bundle, **update: Any) -> Bundle:
    return replace(bundle, manifest=bundle.manifest.model_copy(update=update))


def digest(production: Bundle, candidate: Bundle) -> str:
    return pairing_of(production, candidate, study_of(production, candidate, Rules())).key.digest


def test_the_same_two_bundles_have_the_same_name_in_every_process(bundles: tuple[Bundle, Bundle]) -> None:
    production, candidate = bundles
    assert digest(production, candidate) == digest(changed(production), changed(candidate))
    pairing = pairing_of(production, candidate, study_of(production, candidate, Rules()))
    assert (pairing.key.production, pairing.key.candidate) == (production.spec.tag, candidate.spec.tag)
    assert pairing.slices == tuple(part.name for part in production.manifest.slices)


@pytest.mark.parametrize(
    "update",
    [
        {"tolerance": ToleranceEntry(absolute=0.5)},
        {"threshold": 0.25},
        {"slices": ()},
        {"digests": {"model.onnx": "sha256:other"}},
    ],
    ids=lambda update: next(iter(update)),
)
def test_what_changes_the_meaning_changes_the_name(bundles: tuple[Bundle, Bundle], update: Any) -> None:
    production, candidate = bundles
    if update == {"slices": ()} and not production.manifest.slices:
        feature = production.spec.schema.features[0].name
        part = SliceEntry(name="large", column=feature, range=(0.0, None))
        update = {"slices": (part,)}
    assert digest(changed(production, **update), candidate) != digest(production, candidate)


def test_the_two_models_are_not_mixed_up(bundles: tuple[Bundle, Bundle]) -> None:
    production, candidate = bundles
    assert digest(production, candidate) != digest(candidate, production)


def test_the_rules_of_a_new_configuration_are_those_of_the_domain() -> None:
    assert rules_of(VerdictSettings()) == Rules()


def test_every_rule_can_be_configured() -> None:
    shares = {name: 0.25 for name, entry in VerdictSettings.model_fields.items() if entry.annotation is float}
    counts = {name: 7 for name, entry in VerdictSettings.model_fields.items() if entry.annotation is int}
    found = rules_of(VerdictSettings(labels="required", **shares, **counts))
    assert {name: value for name, value in vars_of(found).items() if value == vars_of(Rules())[name]} == {}


def vars_of(rules: Rules) -> dict[str, Any]:
    return {name: getattr(rules, name) for name in Rules.__dataclass_fields__}
