"""What the edge and the shadow have to agree on."""

from __future__ import annotations

import os
from pathlib import Path

from service.adapters.ledger import Ledger
from service.domain.breaker import Breaker
from service.settings import Environment, Settings

EXPLANATIONS = "explanations"
"""Where the status file says how each candidate is explained; every other key of it is a candidate's tag."""


def shared_directory(environment: Environment) -> Path:
    """Where the processes of one server meet: emptied at every start by BentoML."""
    return Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", environment.home))


def socket_path(settings: Settings, environment: Environment) -> Path:
    """The shadow's socket."""
    return Path(settings.shadow.socket) if settings.shadow.socket else environment.home / "shadow.sock"


def status_path(environment: Environment) -> Path:
    """Where the shadow says what it shadows."""
    return shared_directory(environment) / "shadow.json"


def explainer_socket_path(environment: Environment) -> Path:
    """The Explainer's socket."""
    return environment.home / "explainer.sock"


def explainer_status_path(environment: Environment) -> Path:
    """Where the Explainer says which methods it offers."""
    return shared_directory(environment) / "explainer.json"


def adaptation_path(environment: Environment) -> Path:
    """Where the shadow says how labels have moved each model's regions."""
    return shared_directory(environment) / "adaptation.json"


def accounted_path(environment: Environment) -> Path:
    """Where the shadow notes what of the ledger's counts is in the store."""
    return shared_directory(environment) / "accounted.json"


def drift_path(environment: Environment) -> Path:
    """Where the shadow says how far traffic is from the reference data."""
    return shared_directory(environment) / "drift.json"


def distributions_page_path(environment: Environment) -> Path:
    """Where the shadow leaves rows by bin for the metrics page."""
    return shared_directory(environment) / "distributions.prom"


def distributions_state_path(environment: Environment) -> Path:
    """Where the shadow notes what of the rows by bin it has handed to the store."""
    return shared_directory(environment) / "distributions.json"


def open_ledger(settings: Settings, environment: Environment) -> Ledger | None:
    """The ledger of this server, or None where nobody wants to see its answers."""
    if not settings.mirrors:
        return None
    path = shared_directory(environment) / "ledger.bin"
    return Ledger(
        path,
        settings.candidates,
        records=settings.feedback.enabled,
        distributions=settings.drift.enabled,
    )


def breaker_of(settings: Settings) -> Breaker:
    """A closed breaker as configured."""
    rules = settings.breaker
    return Breaker(rules.failures, rules.pause_seconds, rules.longest_pause_seconds)
