"""What became of one row beside the edge, and the rows that travel there."""

from __future__ import annotations

import itertools
import zlib
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
    "counted",
    "failed",
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

COUNT_OUTCOMES: tuple[Outcome, ...] = (
    "counted",  # its values are in the distributions
    "sampled_out",
    "queue_full",
    "too_large",
    "shadow_down",
    "failed",  # counting failed, or production is unfit, so that nobody knows its bins
)
"""What may become of a row whose values were to be counted by bin."""


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

    def origin(self) -> Origin:
        """The same row by row."""
        starts = np.cumsum(self.counts) - self.counts
        places = np.arange(int(self.counts.sum())) + np.repeat(self.firsts - starts, self.counts)
        numbers = np.arange(len(self), dtype=np.int32)
        return Origin(
            self.request_ids,
            self.totals,
            np.repeat(numbers, self.counts),
            places,
        )


class Stretch(NamedTuple):
    """Rows of a batch that follow each other in their request as well; a tuple as one is made per request."""

    request_id: str
    first: int
    """Rows of the request before these."""
    total: int
    """Rows of the whole request."""
    start: int
    """Of the batch, from here."""
    end: int
    """Up to here, without."""


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Which row of which request each row of a batch is, whatever was taken out of it."""

    request_ids: tuple[str, ...]
    """Oldest first; some may have no row here any more."""
    totals: NDArray[np.int64]
    """Rows of the whole request, [requests]."""
    requests: NDArray[np.int32]
    """Index into ``request_ids``, [rows]."""
    places: NDArray[np.int64]
    """The row's number in its request from 0, [rows]."""

    def take(self, which: NDArray[np.bool_] | slice) -> Origin:
        """Of the selected rows."""
        return Origin(self.request_ids, self.totals, self.requests[which], self.places[which])

    def stretches(self) -> list[Stretch]:
        """All rows, in order, in as few stretches as there can be."""
        if not len(self.requests):
            return []
        goes_on = (np.diff(self.requests) == 0) & (np.diff(self.places) == 1)
        starts = np.concatenate([[0], np.flatnonzero(~goes_on) + 1])
        requests, ends = self.requests[starts], np.append(starts[1:], len(self.requests))
        names = [self.request_ids[index] for index in requests.tolist()]
        columns = (self.places[starts], self.totals[requests], starts, ends)
        return list(map(Stretch, names, *(column.tolist() for column in columns)))


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
    origin: Origin
    """The requests that the rows came from, [rows]."""

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

    @property
    def request_ids(self) -> tuple[str, ...]:
        """The requests that the rows came from, oldest first."""
        return self.origin.request_ids

    def take(self, which: NDArray[np.bool_] | slice) -> ShadowBatch:
        """The selected rows."""
        return ShadowBatch(
            self.rows[which],
            self.scores[which],
            self.answerers[which],
            self.senders[which],
            self.received,
            self.origin.take(which),
        )


def share_of(request_id: str) -> float:
    """0 to 1, the same for the same id everywhere: below a rate, the request is one of that share."""
    return zlib.crc32(request_id.encode()) / 2**32


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
        _join_origins([batch.origin for batch in batches]),
    )


def _join_origins(origins: list[Origin]) -> Origin:
    shifts = [0, *itertools.accumulate(len(origin.request_ids) for origin in origins[:-1])]
    numbers = [origin.requests + np.int32(shift) for origin, shift in zip(origins, shifts, strict=True)]
    return Origin(
        tuple(itertools.chain.from_iterable(origin.request_ids for origin in origins)),
        np.concatenate([origin.totals for origin in origins]),
        np.concatenate(numbers),
        np.concatenate([origin.places for origin in origins]),
    )


@dataclass(frozen=True, slots=True)
class Observation:
    """One model's answer to one batch: scores or an error, plus the seconds it took."""

    scores: Scores | None
    error: Outcome | None = None
    seconds: float = 0.0
    """CPU seconds of the run: wall time would measure the shadow's low priority, not the model."""
    detail: str = ""
