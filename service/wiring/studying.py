"""Two bundles, and all that is needed to compare their models: live in the shadow, or in a replay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

from models.bundle import Bundle
from models.pair import pair_of
from service.adapters import bundles
from service.domain.evidence.books import Key
from service.domain.evidence.document import Study
from service.domain.evidence.measures import DISAGREEMENT, JUDGEMENT
from service.domain.evidence.paired import Pairing, Settle
from service.domain.evidence.settling import Settling
from service.domain.evidence.sheet import sheet
from service.domain.evidence.verdict import Rules
from service.sections import VerdictSettings

DIGITS = 32
"""Of the digest that tells one pair's evidence from any other's."""
MEANING = 2
"""Raised when a column keeps its name but not its meaning, so that old sums are not added to new ones."""


def study_of(production: Bundle, candidate: Bundle, rules: Rules) -> Study:
    """How the candidate is compared with production, by production's manifest.

    Raises:
        BundleError: they answer different things.
    """
    pair = pair_of(production, candidate)
    return Study(
        agreement=sheet(pair, DISAGREEMENT),
        judgement=sheet(pair, JUDGEMENT),
        itself=sheet(replace(pair, candidate=pair.production), DISAGREEMENT),
        slices=tuple(part.name for part in bundles.slices_of(production)),
        bins=bundles.bins_of(production),
        rules=rules,
    )


def pairing_of(production: Bundle, candidate: Bundle, study: Study) -> Pairing:
    """The name under which the pair's evidence is kept; it changes with whatever changes the evidence."""
    spec = production.spec
    manifest = production.manifest.model_dump(mode="json")
    meaning = {
        "version": MEANING,
        "bundles": [[each.spec.tag, each.digest] for each in (production, candidate)],
        "thresholds": [spec.threshold, candidate.spec.threshold],
        "columns": [study.agreement.columns, study.judgement.columns, study.itself.columns],
        "bins": None if study.bins is None else study.bins.binning.digest,
        "manifest": {name: manifest[name] for name in ("slices", "tolerance", "costs")},
        "uncertainty": [
            each.manifest.uncertainty.model_dump(mode="json") for each in (production, candidate)
        ],
    }
    digest = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:DIGITS]
    return Pairing(Key(spec.tag, candidate.spec.tag, digest), spec.task, spec.classes, study.slices)


def settling(studies: Mapping[Key, Study]) -> Settle:
    """What labels add to the evidence of the pairs that are compared here."""
    return Settling({key: study.judgement for key, study in studies.items()})


def rules_of(settings: VerdictSettings) -> Rules:
    """The verdict's rules as configured."""
    return Rules(**settings.model_dump())
