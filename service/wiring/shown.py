"""What one edge's pages show: its models, the shadow's report, and what bundles say of themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import orjson

from models import store
from models.bundle import Bundle, open_bundle
from service.adapters import bundles, process
from service.adapters.bundles import Loaded
from service.adapters.findings import FindingsReader
from service.adapters.ledger import Ledger
from service.adapters.presence import await_absence
from service.adapters.prometheus import Page
from service.domain.drift.document import drift_document
from service.domain.report import CandidateState, report
from service.errors import BundleError
from service.http.problem import Problem
from service.settings import Environment, Settings
from service.wiring.following import Following
from service.wiring.shared import EXPLANATIONS, drift_path, explainer_status_path, shadow_path, status_path

NOT_WANTED = "drift.enabled is false, so nothing is counted"
ABSENT = "no shadow of the same configuration runs beside this service (shadow.supervised is false)"
NOT_COUNTED = "the shadow counts what is asked, and it is not running yet"


@dataclass(frozen=True, slots=True)
class Shown:
    """Made anew for each request, from files that the other processes leave."""

    settings: Settings
    environment: Environment
    production: Loaded
    ledger: Ledger | None
    following: Following
    page: Page
    findings: FindingsReader

    def models(self) -> dict[str, Any]:
        """``/models``"""
        shadow = self._shadow()
        methods = process.read_status(explainer_status_path(self.environment)) or {}
        loading = {"state": "loading", "reason": "the shadow has not loaded it yet"}
        found = [shadow.get(tag) or bundles.refused(tag, "") | loading for tag in self.settings.candidates]
        serving = self.production.describe()
        samples = self.page.samples()
        for each in (serving, *found):
            tag = f"{each['name']}:{each['version']}"
            each["explanations"] = methods.get(tag)
            sure = each.get("uncertainty")
            if sure is not None:
                sure["coverage"] = self.following.coverage(samples, tag, sure["confidence"])
        return {"production": serving, "candidates": found}

    def report(self) -> dict[str, Any]:
        """``/shadow/report``"""
        shadow, ledger = self._shadow(), self.ledger
        reasons = shadow.get(EXPLANATIONS, {})
        states = tuple(
            CandidateState(
                tag,
                shadow.get(tag, {}).get("reason"),
                ledger is not None and ledger.breaker_open(index),
                ledger.in_flight(index) if ledger is not None else 0,
                reasons.get(tag, {}).get("method"),
                reasons.get(tag, {}).get("reason"),
            )
            for index, tag in enumerate(self.settings.candidates)
        )
        return report(self.page.samples(), self.settings.production, states, self.findings.read())

    def drift(self) -> bytes:
        """``/drift``"""
        if not self.settings.drift.enabled:
            return _nothing(NOT_WANTED)
        try:
            return drift_path(self.settings, self.environment).read_bytes()
        except OSError:  # a sidecar of another user, say: the page says nothing rather than nothing at all
            return _nothing(NOT_COUNTED)

    def _shadow(self) -> dict[str, Any]:
        """What the shadow says of itself; where it is started by others, that it is not there."""
        settings, where = self.settings, (self.settings, self.environment)
        if not settings.shadow.supervised and await_absence(shadow_path(*where), 0.0):
            return {tag: bundles.refused(tag, ABSENT) for tag in settings.candidates}
        status: dict[str, Any] | None = process.read_status(status_path(*where))
        return status or {}


def _nothing(reason: str) -> bytes:
    """What ``/drift`` answers where nobody counts."""
    return orjson.dumps(drift_document((), time.time(), reason=reason))


def uncertainty_of(bundle: Bundle) -> bytes | None:
    """What packaging found out about a bundle's measures, or None where it has none."""
    document = bundle.uncertainty()
    return None if document is None else orjson.dumps(document)


def uncertainty(tag: str) -> bytes | None:
    """The same of a bundle in the store; raises ``Problem`` where it is not there."""
    try:
        return uncertainty_of(open_bundle(store.locate(tag)))
    except BundleError as error:
        raise Problem(404, str(error)) from error


def global_views(tag: str) -> bytes | None:
    """What a bundle in the store says of its model as a whole; raises ``Problem`` where it is not there."""
    try:
        return open_bundle(store.locate(tag)).global_views()
    except BundleError as error:
        raise Problem(404, str(error)) from error
