"""What became of one row beside the edge, and the rows that travel there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import FeatureBatch, Scores

Arm: TypeAlias = Literal["production", "canary"]

Outcome: TypeAlias = Literal[
    "compared",
    "sampled_out",
    "queue_full",
    "deadline",
    "breaker_open",
    "candidate_error",
    "too_large",
    "shadow_down",
    "written",
    "repeated",
    "store_error",
]
OUTCOMES: tuple[Outcome, ...] = (
    "compared",  # both models answered
    "sampled_out",  # the sampling rate left the row out
    "queue_full",  # a bounded queue on the way had no room
    "deadline",  # waited too long, or the candidate did not answer in time
    "breaker_open",  # the candidate failed too often and is paused
    "candidate_error",  # the candidate raised, answered no number, or answered the wrong shape
    "too_large",  # one row alone is larger than the mirror can carry
    "shadow_down",  # there was no shadow process, or a process died holding the row
)
"""What may become of a row that a candidate was to see."""

RECORD_OUTCOMES: tuple[Outcome, ...] = (
    "written",  # the answer is in the store
    "repeated",  # the store had an answer under this request id already, and keeps that one
    "sampled_out",
    "queue_full",
    "too_large",
    "shadow_down",
    "store_error",  # the store refused the record, or there was nobody to make one
)
"""What may become of a row whose answer was to be recorded."""


class Mirrored(NamedTuple):
    """One answered request on its way to the shadow; a tuple because one is made per request."""

    request_id: str
    answerer: int
    """Who answered: 0 is production, i the i-th candidate of the configuration."""
    rows: FeatureBatch
    """Canonical rows of the production schema, [rows, width]."""
    scores: Scores
    """What it answered, [rows, outputs]."""
    first: int = 0
    """Rows of the request before these, where it travels in parts."""
    total: int = 0
    """Rows of the whole request; 0 where these are all of them."""


@dataclass(frozen=True, slots=True)
class ShadowBatch:
    """Rows of one or many requests, as the shadow works on them."""

    rows: FeatureBatch
    """Canonical rows of the production schema, [rows, width]."""
    scores: Scores
    """What was answered, [rows, outputs]."""
    answerers: NDArray[np.uint8]
    """Who answered, as ``Mirrored.answerer``, [rows]."""
    senders: NDArray[np.int16]
    """The edge worker that each row came from, [rows]."""
    received: float
    """``time.monotonic()`` seconds at which the oldest row arrived."""
    request_ids: tuple[str, ...]
    """The requests that the rows came from, oldest first."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def canary(self) -> NDArray[np.bool_]:
        """True where a canary answered, [rows]."""
        return np.not_equal(self.answerers, 0)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows and their scores."""
        return self.rows.nbytes + self.scores.nbytes

    def take(self, which: NDArray[np.bool_] | slice) -> ShadowBatch:
        """The selected rows."""
        return ShadowBatch(
            self.rows[which],
            self.scores[which],
            self.answerers[which],
            self.senders[which],
            self.received,
            self.request_ids,
        )


def join(batches: list[ShadowBatch]) -> ShadowBatch:
    """One batch of all rows, in order; ``batches`` is not empty."""
    if len(batches) == 1:
        return batches[0]
    return ShadowBatch(
        np.concatenate([batch.rows for batch in batches]),
        np.concatenate([batch.scores for batch in batches]),
        np.concatenate([batch.answerers for batch in batches]),
        np.concatenate([batch.senders for batch in batches]),
        min(batch.received for batch in batches),
        tuple(name for batch in batches for name in batch.request_ids),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Which rows of a batch belong to which request: one entry for each request, or part of one."""

    request_ids: tuple[str, ...]
    counts: NDArray[np.int64]
    """Rows in the batch; the parts follow each other."""
    firsts: NDArray[np.int64]
    """Rows of the request before these."""
    totals: NDArray[np.int64]
    """Rows of the whole request."""

    def __len__(self) -> int:
        return len(self.request_ids)

    def take(self, which: NDArray[np.bool_]) -> Parts:
        """The selected parts."""
        names = tuple(name for name, chosen in zip(self.request_ids, which, strict=True) if chosen)
        return Parts(names, self.counts[which], self.firsts[which], self.totals[which])


@dataclass(frozen=True, slots=True)
class Observation:
    """One model's answer to one batch: scores or an error, plus the seconds it took."""

    scores: Scores | None
    error: Outcome | None = None
    seconds: float = 0.0
    """CPU seconds of the run: wall time would measure the shadow's low priority, not the model."""
    detail: str = ""
