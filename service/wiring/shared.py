"""What the edge and the shadow have to agree on."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from service import __version__
from service.adapters import frames
from service.adapters.ledger import LAYOUT, Ledger
from service.adapters.presence import Presence, await_alone, enter, remove_deserted
from service.domain.breaker import Breaker
from service.settings import Environment, Settings

log = logging.getLogger("understudy")

MEETING = 1
"""Number of the layout of what the edge and a shadow of another container share; raised when it changes."""
TURN_SECONDS = 10.0
"""How long a shadow waits for its predecessor to end."""
EXPLANATIONS = "explanations"
"""Where the status file says how each candidate is explained; every other key of it is a candidate's tag."""


def shared_directory(settings: Settings, environment: Environment) -> Path:
    """Where the edge and the shadow meet.

    Where BentoML starts both it empties the place at every start. Else nobody does, and it is named after all
    that both must agree on: sides of different settings never read each other's files.
    """
    if settings.shadow.supervised:
        return _emptied_directory(environment)
    path = environment.home / "shared" / agreement(settings)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def enter_shared_directory(settings: Settings, environment: Environment) -> Presence | None:
    """Keeps the place for as long as this process lives; None where BentoML sees to it.

    Places of other settings that nobody is in any more are removed: disks stay small, and where settings
    return, counters start anew, as Prometheus expects, instead of where they were long ago.
    """
    if settings.shadow.supervised:
        return None
    path = shared_directory(settings, environment)
    held = enter(path)
    for gone in remove_deserted(path.parent, path):
        log.info("removed %s: nobody of those settings runs any more", gone)
    return held


def take_turn(settings: Settings, environment: Environment) -> Presence | None:
    """Makes this process the one shadow that writes here; None where another does and stays.

    Two would count over each other. The wait is for one that just ends. What earlier ones had not yet put
    into its place when they died is removed; only shadows write files like that.
    """
    path = shared_directory(settings, environment) / "turn.lock"
    turn = Presence.alone(path)
    if turn is None:
        log.warning("another shadow of this configuration is at work; waiting %g s for its end", TURN_SECONDS)
        turn = await_alone(path, TURN_SECONDS)
    if turn is not None and not settings.shadow.supervised:
        for left in _half_written(path.parent):
            left.unlink(missing_ok=True)
    return turn


def socket_path(settings: Settings, environment: Environment) -> Path:
    """The shadow's socket."""
    if settings.shadow.socket:
        return Path(settings.shadow.socket)
    if settings.shadow.supervised:
        return environment.home / "shadow.sock"
    return shared_directory(settings, environment) / "shadow.sock"


def metrics_directories(settings: Settings, environment: Environment) -> tuple[Path, ...]:
    """Where the processes of one server leave their counts for the metrics page; none where one is alone."""
    own = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if own is None:
        return ()
    if settings.shadow.supervised or not settings.mirrors:
        return (Path(own),)
    return tuple({Path(own), shared_directory(settings, environment)})


def edges_path(settings: Settings, environment: Environment) -> Path:
    """What every edge worker holds a lock on until it has handed over its last row."""
    return shared_directory(settings, environment) / "edges.lock"


def status_path(settings: Settings, environment: Environment) -> Path:
    """Where the shadow says what it shadows."""
    return shared_directory(settings, environment) / "shadow.json"


def shadow_path(settings: Settings, environment: Environment) -> Path:
    """What the shadow holds a lock on while it is there."""
    return shared_directory(settings, environment) / "shadow.lock"


def explainer_socket_path(environment: Environment) -> Path:
    """The Explainer's socket."""
    return environment.home / "explainer.sock"


def explainer_status_path(environment: Environment) -> Path:
    """Where the Explainer, which BentoML always starts, says which methods it offers."""
    return _emptied_directory(environment) / "explainer.json"


def adaptation_path(settings: Settings, environment: Environment) -> Path:
    """Where the shadow says how labels have moved each model's regions."""
    return shared_directory(settings, environment) / "adaptation.json"


def accounted_path(settings: Settings, environment: Environment) -> Path:
    """Where the shadow notes what of the ledger's counts is in the store."""
    return shared_directory(settings, environment) / "accounted.json"


def drift_path(settings: Settings, environment: Environment) -> Path:
    """Where the shadow says how far traffic is from the reference data."""
    return shared_directory(settings, environment) / "drift.json"


def distributions_page_path(settings: Settings, environment: Environment) -> Path:
    """Where the shadow leaves rows by bin for the metrics page."""
    return shared_directory(settings, environment) / "distributions.prom"


def distributions_state_path(settings: Settings, environment: Environment) -> Path:
    """Where the shadow notes what of the rows by bin it has handed to the store."""
    return shared_directory(settings, environment) / "distributions.json"


def open_ledger(settings: Settings, environment: Environment) -> Ledger | None:
    """The ledger of this server, or None where nobody wants to see its answers."""
    if not settings.mirrors:
        return None
    path = shared_directory(settings, environment) / "ledger.bin"
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


def _emptied_directory(environment: Environment) -> Path:
    return Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", environment.home))


def _half_written(directory: Path) -> list[Path]:
    """Files that were to replace others; their names end with the id of a process."""
    return [each for each in directory.iterdir() if each.suffix[1:].isdigit()]


def agreement(settings: Settings) -> str:
    """A name of all on which frames, the ledger's pages, counts and the status files depend.

    Settings that one side alone follows are not in it, nor what the rollout may change while both run.
    """
    agreed = (
        MEETING,
        __version__,
        frames.VERSION,
        LAYOUT,
        settings.production,
        settings.candidates,
        settings.feedback.enabled,
        settings.drift.enabled,
        settings.evidence.enabled,
    )
    return hashlib.sha256(repr(agreed).encode()).hexdigest()[:16]
