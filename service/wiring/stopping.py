"""In which order a server's processes end: the edge first, then what works for it."""

from __future__ import annotations

from service.adapters.presence import await_absence
from service.settings import Environment, Settings
from service.wiring.shared import edges_path

LAST_SECONDS = 10
"""What uvicorn has for requests in work once the edge listens no more."""


def edge_patience(settings: Settings) -> float:
    """Seconds after SIGTERM in which the edge is gone."""
    return settings.server.drain_seconds + LAST_SECONDS


def await_edges(settings: Settings, environment: Environment) -> None:
    """Returns once no edge is there any more, or should not be.

    All get SIGTERM at the same moment, and the edge answers on for a while: its rows are still to be
    compared, and its callers may ask for explanations.
    """
    await_absence(edges_path(settings, environment), edge_patience(settings))
