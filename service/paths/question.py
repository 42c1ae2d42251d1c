"""What one request is on its way: a question, the model that it is put to, and what that answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from service.domain.explainers.document import Wish
from service.domain.observation import Arm
from service.domain.schema import FeatureBatch, ModelSpec, Scores
from service.domain.uncertainty.quantifier import Doubt, Quantified
from service.paths.steps import Steps


class Question(NamedTuple):
    """A validated request; a tuple because one is made per request."""

    request_id: str
    rows: FeatureBatch
    routing_key: str | None
    """Decides the arm; None draws anew for each request."""
    arm: Arm | None
    """The arm that an operator asked for, or None."""
    start: float
    """``time.monotonic()`` seconds at which the request was complete."""
    format: object = None
    """How the caller wants the answer written; means something to its protocol alone."""
    wish: Wish | None = None
    """What is to be explained about the answer, where anything is."""
    doubt: Doubt | None = None
    """What is to be said about how sure the answer is, where anything is."""
    warnings: bytes = b""
    """What the answer says about rows unlike training's: JSON objects with commas between them."""
    steps: Steps | None = None
    """Collects what is done for it, where it was drawn for a line in the log or a trace."""


class Tally(Protocol):
    """Counts of one arm; written to on the hot path, moved elsewhere later."""

    @property
    def labels(self) -> list[int]: ...

    @property
    def seconds(self) -> list[float]: ...

    @property
    def domain(self) -> list[int]:
        """Rows in domain, and rows out of it."""


class Explained(NamedTuple):
    """Explanations of all rows of a request."""

    method: str
    seconds: float
    documents: list[bytes]
    """JSON of each row's."""


class Sheet(NamedTuple):
    """A picture or a page in place of the usual answer."""

    body: bytes
    content_type: bytes


@dataclass(frozen=True, slots=True)
class Doubting:
    """How sure a model's answers are."""

    quantify: Callable[[FeatureBatch, Scores, Doubt], Quantified]
    rows: int
    """So many rows are quantified in a time that the event loop can spare, at least 1."""
    rows_extra: int
    """The same where more is asked for than is said by default."""
    ambiguous: bool = False
    """Whether a set that does not hold exactly one label is not answered with one."""
    out_of_domain: bool = False
    """Whether a row that the training data had nothing like is not answered with a label."""
    beside: Callable[[Callable[[], Any]], Awaitable[Any]] | None = None
    """Does something in a thread of the model's own; there where the measures of a canary may hang."""

    @property
    def abstains(self) -> bool:
        """Whether some answers may name no label."""
        return self.ambiguous or self.out_of_domain


@dataclass(frozen=True, slots=True, eq=False)
class Serving:
    """A loaded model that may answer callers; equal only to itself."""

    spec: ModelSpec
    infer: Callable[[FeatureBatch, float], Scores]
    """Runs here and now, until ``due`` at most."""
    infer_in_thread: Callable[[FeatureBatch, float], Awaitable[Scores]]
    """The same beside the event loop."""
    inline_rows: int
    """Up to so many rows an inference is short enough for the event loop."""
    tally: Tally
    explain: Callable[[FeatureBatch, Scores, Wish], Explained | None] | None = None
    """Explains answered rows about as fast as they were inferred; None where that cannot be done."""
    explain_rows: int = 1
    """So many rows are explained in a time that the event loop can spare."""
    doubting: Doubting | None = None
    """None for a bundle without measures of uncertainty."""
    answerer: int = 0
    """Its number in records: 0 is production, i the i-th candidate of the configuration."""


class Answer(NamedTuple):
    """What is said to the caller."""

    request_id: str
    model: Serving
    arm: Arm
    scores: Scores
    labels: list[int]
    """Index into ``model.spec.classes`` of each row, or behind it: see ``service.domain.abstention``."""
    explanations: Sequence[bytes] = ()
    """JSON of each row's explanation, where they were asked for."""
    sheet: Sheet | None = None
    quantified: Quantified | None = None
    """How sure it is, where that was asked for."""
    judged: Quantified | None = None
    """The same as the manifest has it, where it decides about the labels."""
