"""What one process answers, as records: its routes, its limits, its predict path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from service.domain.passage import Passage
from service.http.codec import Codec
from service.http.telling import Drawing, Tell
from service.paths.explain import ExplainPath
from service.paths.predict import PredictPath

JSON_TYPES = frozenset({b"", b"application/json"})


class Reply(NamedTuple):
    """An answer that is no prediction."""

    body: bytes
    content_type: bytes = b"application/json"
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()


Page: TypeAlias = Callable[[], Awaitable[Reply]]
Post: TypeAlias = Callable[[bytes], Awaitable[Reply]]
"""Takes the body of a POST that is no prediction; raises ``Problem``."""


@dataclass(frozen=True, slots=True)
class Route:
    """What one path answers. ``template`` is its name in metrics and in the documented API."""

    template: str
    pages: dict[str, Page] = field(default_factory=dict)
    """By method; GET serves HEAD as well."""
    predict: Codec | None = None
    """POST: the predict path in this protocol."""
    post: Post | None = None
    """POST that is no prediction."""
    content_types: frozenset[bytes] = JSON_TYPES
    """Accepted by POST: media types in lower case, without parameters; empty where none is named."""
    settles: bool = True
    """Whether an answer counts as traffic: it is tallied and mirrored. Questions about the model are not."""
    admin: bool = False
    """Whether a POST needs the admin bearer token."""

    @property
    def methods(self) -> list[str]:
        """What is documented."""
        return sorted({*self.pages, *(["POST"] if self.predict or self.post else [])})

    @property
    def allowed(self) -> list[str]:
        """What may be sent here."""
        return sorted({*self.methods, *(["HEAD"] if "GET" in self.pages else [])})


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """What one request, and all of them together, may take."""

    max_body_bytes: int
    max_concurrency: int
    deadline: float
    """Seconds, for reading the body too."""


def _nobody(passage: Passage) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Everything the application needs; made by ``service.wiring``."""

    path: PredictPath | None
    """None where the production bundle is unfit."""
    explain: ExplainPath | None
    """None where the production bundle is unfit."""
    unfit: str | None
    """Why nothing can be predicted, or None."""
    routes: dict[str, Route]
    limits: EdgeLimits
    responded: Callable[[str, int], None]
    """Counts (route template, status code)."""
    admin_token: str | None
    tell: Tell = _nobody
    """Takes what is told of requests that failed with 5xx, and of those that were drawn."""
    drawing: Drawing | None = None
    """None where no request is drawn."""
