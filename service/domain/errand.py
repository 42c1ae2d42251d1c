"""What an edge asks of the Explainer process, and what comes back."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from service.domain.explainers.document import Wish
from service.domain.observation import Arm
from service.domain.schema import FeatureBatch

Status: TypeAlias = Literal["done", "unsuitable", "busy", "late", "failed"]


class Errand(NamedTuple):
    """Rows to explain."""

    model: str
    """Tag of the model that answered."""
    rows: FeatureBatch
    """Canonical rows of production, whoever answered."""
    wish: Wish
    request_id: str
    arm: Arm
    due: float
    """``time.monotonic()`` of this machine at which nobody waits for the answer any more."""


class Reply(NamedTuple):
    """What became of an errand."""

    status: Status
    documents: list[bytes]
    """JSON of each row's explanation, or the one page that was asked for."""
    content_type: str = "application/json"
    method: str = ""
    """Who explained."""
    seconds: float = 0.0
    """Time spent, waiting apart."""
    reason: str = ""
    """Why there is nothing, where ``status`` is not ``done``."""
