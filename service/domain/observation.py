"""What became of one row in the shadow, and the rows that travel there."""

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


class Mirrored(NamedTuple):
    """One answered request on its way to the shadow; a tuple because one is made per request."""

    request_id: str
    arm: Arm
    rows: FeatureBatch
    """Canonical rows of the production schema, [rows, width]."""
    scores: Scores
    """What ``arm`` answered, [rows, outputs]."""


@dataclass(frozen=True, slots=True)
class ShadowBatch:
    """Rows of one or many requests, as the shadow works on them."""

    rows: FeatureBatch
    """Canonical rows of the production schema, [rows, width]."""
    scores: Scores
    """What the answering arm said, [rows, outputs]."""
    canary: NDArray[np.bool_]
    """True where the canary answered, [rows]."""
    senders: NDArray[np.int16]
    """The edge worker that each row came from, [rows]."""
    received: float
    """``time.monotonic()`` seconds at which the oldest row arrived."""
    request_ids: tuple[str, ...]
    """The requests that the rows came from, oldest first."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows and their scores."""
        return self.rows.nbytes + self.scores.nbytes

    def take(self, which: NDArray[np.bool_] | slice) -> ShadowBatch:
        """The selected rows."""
        return ShadowBatch(
            self.rows[which],
            self.scores[which],
            self.canary[which],
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
        np.concatenate([batch.canary for batch in batches]),
        np.concatenate([batch.senders for batch in batches]),
        min(batch.received for batch in batches),
        tuple(name for batch in batches for name in batch.request_ids),
    )


@dataclass(frozen=True, slots=True)
class Observation:
    """One model's answer to one batch: scores or an error, plus the seconds it took."""

    scores: Scores | None
    error: Outcome | None = None
    seconds: float = 0.0
    """CPU seconds of the run: wall time would measure the shadow's low priority, not the model."""
    detail: str = ""
