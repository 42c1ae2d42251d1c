"""Redaction: the stricter of manifest and configuration, and no column that is not there."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from models.bundle import Bundle
from models.manifest import FeatureEntry
from service.errors import ConfigurationError
from service.sections import EvidenceSettings, Redaction
from service.settings import Environment
from service.wiring.redacting import redaction_key, redaction_rules
from tests.wiring.bundles import tiny_bundle


def bundle_with(folder: Path, rule: Redaction) -> Bundle:
    """A bundle whose manifest has this rule for its first feature."""
    bundle = tiny_bundle(folder, quantify=False).bundle
    first, *others = bundle.manifest.features
    changed = FeatureEntry.model_validate(first.model_dump() | {"redact": rule})
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"features": (changed, *others)}))


@pytest.mark.parametrize(
    ("manifest", "configured", "expected"),
    [
        ("keep", "drop", "drop"),
        ("drop", "keep", "drop"),
        ("hash", "keep", "hash"),
        ("hash", "drop", "drop"),
        ("keep", "keep", "keep"),
    ],
)
def test_the_stricter_rule_holds(
    tmp_path: Path, manifest: Redaction, configured: Redaction, expected: Redaction
) -> None:
    bundle = bundle_with(tmp_path, manifest)
    name, *others = bundle.spec.schema.names()
    rules = redaction_rules(EvidenceSettings(redact={name: configured}), bundle)
    assert rules == {name: expected} | dict.fromkeys(others, "keep")


def test_a_column_that_the_model_does_not_have_is_named(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, quantify=False).bundle
    with pytest.raises(ConfigurationError, match=r"evidence.redact: 'Salary' is none of the columns"):
        redaction_rules(EvidenceSettings(redact={"Salary": "drop"}), bundle)


def test_hashes_that_no_other_process_can_match_are_not_made_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "understudy.evidence"):
        assert redaction_key(Environment(redact_key="pepper"), {"age": "hash"}) == b"pepper"
        assert len(redaction_key(Environment(), {"age": "drop"})) == 32
        assert not caplog.records
        keys = {redaction_key(Environment(), {"age": "hash"}) for _ in range(2)}
    assert len(keys) == 2
    assert "UNDERSTUDY_REDACT_KEY" in caplog.text
