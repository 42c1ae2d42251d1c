"""Both models' answers to a request, kept until its labels come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.domain.evidence.books import Books, Key
from service.domain.evidence.cases import Case
from service.domain.schema import Scores, Task


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two models under comparison, as far as labels of their rows need to know them."""

    key: Key
    task: Task
    classes: tuple[str, ...]
    """Production's; empty for a regression. The candidate has the same."""
    slices: tuple[str, ...]
    """Names of the slices that rows were sorted into, at most ``service.domain.labels.MOST_SLICES``."""

    @property
    def outputs(self) -> int:
        """Columns of either model's scores."""
        return len(self.classes) or 1


class Answers(NamedTuple):
    """What both models answered to some following rows of one request; one is made per request."""

    request_id: str
    first: int
    """Rows of the request before these."""
    total: int
    """Rows of the whole request."""
    answered_at: float
    """Seconds since 1970."""
    before: Scores
    """Production's, [rows, outputs]."""
    after: Scores
    """The candidate's, [rows, outputs]."""
    slices: NDArray[np.uint32] | None = None
    """Bit i: the row is in the i-th slice, [rows]; None where there are no slices."""


class Kept(NamedTuple):
    """``Answers`` as the store has them."""

    pairing: Pairing
    answers: Answers
    joined: int = 0
    """They were joined with the deliveries of their request whose number is below."""
    id: int = 0
    """The store's name for them; later ones have larger names."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledAnswers:
    """Rows that both models answered and whose truth is now known."""

    pairing: Pairing
    before: Scores
    """[rows, outputs]"""
    after: Scores
    labels: NDArray[np.intp] | NDArray[np.float64]
    """[rows]: indices into production's classes, or values of a regression."""
    slices: NDArray[np.uint32]
    """[rows]: bit i says that the row is in the i-th slice."""
    hour: int = 0
    """In which their labels came, since 1970; rows of different hours come apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """What labels add to the evidence of one candidate; written in the step that marks them as joined."""

    key: Key
    hour: int
    """Hours since 1970, as ``LabelledAnswers`` has it."""
    books: Books


class Settle(Protocol):
    """What the truth about some rows adds to the evidence."""

    def knows(self, key: Key) -> bool:
        """Whether it can judge rows of this pairing; another replica may know others."""

    def __call__(self, parts: Sequence[LabelledAnswers], /) -> Sequence[Settled]:
        """Of pairings that it knows.

        It may be called again with the same rows where the step fails that it is part of, so what it gives
        must depend on its arguments alone.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one shadow saw of one candidate since it last wrote; written whole, and once.

    Where a store dies in the act nobody knows whether a batch was written. Then it is written again under
    the same number, and the store leaves it alone if it has it.
    """

    writer: str
    """One life of one process, 32 hexadecimal digits."""
    number: int
    """Among this writer's batches for this pairing, from 1 without gaps."""
    pairing: Pairing
    hours: Mapping[int, Books]
    """Sums by hours since 1970."""
    cases: tuple[Case, ...] = ()
    answers: tuple[Answers, ...] = ()
