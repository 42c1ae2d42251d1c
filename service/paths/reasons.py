"""What the shadow does beside comparing answers: it asks for the reasons of a sample of compared rows.

The rows are accounted for before; whatever happens here is counted, and changes no row's outcome.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import numpy as np

from service.domain.disagreement.reasons import ReasonsComparison
from service.domain.schema import FeatureBatch, Scores

log = logging.getLogger("understudy.shadow")

Unexplained: TypeAlias = Literal["busy", "deadline", "error"]
"""Why a sampled row was not explained: others were waiting, time ran out, or a model or a method failed."""


class Reasons(Protocol):
    """Why both models answer as they do."""

    def __call__(self, rows: FeatureBatch, scores: Scores, due: float) -> ReasonsComparison:
        """How the reasons differ for those of ``rows`` that can be explained before ``due``.

        ``scores`` is what production answered; ``due`` is in seconds of ``time.monotonic()``.
        """


class ReasonsSink(Protocol):
    """Where one candidate's explained rows are counted."""

    def explained(self, reasons: ReasonsComparison) -> None: ...

    def unexplained(self, reason: Unexplained, rows: int) -> None: ...


@dataclass(slots=True)
class Explaining:
    """Explains a share of one candidate's compared rows; works in the candidate's thread."""

    tag: str
    reasons: Reasons
    sink: ReasonsSink
    set_running: Callable[[bool], None]
    """Marks the begin and the end of a run, so that a crash has a name."""
    rate: float
    """Share of the rows, 0 to 1, drawn at random with a fixed seed."""
    seconds: float
    """Time that the rows of one batch may take together."""
    _draw: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    _complaints: set[str] = field(default_factory=set)

    def explain(self, rows: FeatureBatch, scores: Scores, now: float, left: float) -> None:
        """Explains a sample of ``rows`` within ``left`` seconds from ``now``, and within its own."""
        sample = self._draw.random(len(rows)) < self.rate
        asked = int(np.count_nonzero(sample))
        if asked and left <= 0:
            self.sink.unexplained("busy", asked)
        elif asked:
            self._explain(rows[sample], scores[sample], now + min(left, self.seconds))

    def _explain(self, rows: FeatureBatch, scores: Scores, due: float) -> None:
        self.set_running(True)
        try:
            found = self.reasons(rows, scores, due)
            numbers = np.isfinite(found.distances)
            self.sink.explained(found.take(numbers))
        except Exception as error:  # a candidate may do anything on rows that were made up
            self._complain(error)
            self.sink.unexplained("error", len(rows))
            return
        finally:
            self.set_running(False)
        self._lose("deadline", len(rows) - len(found))
        self._lose("error", int((~numbers).sum()))

    def _lose(self, reason: Unexplained, rows: int) -> None:
        if rows:
            self.sink.unexplained(reason, rows)

    def _complain(self, error: Exception) -> None:
        kind = type(error).__name__
        if kind not in self._complaints:  # a batch may come every few milliseconds
            self._complaints.add(kind)
            log.warning("%s: rows cannot be explained (%s is logged once)", self.tag, kind, exc_info=error)
