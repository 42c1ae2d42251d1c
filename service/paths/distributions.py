"""The journey of a value into its bin: what models are asked and answer, by the reference data's bins.

Rows wait until there are many of them, or until somebody looks, because 500 cost hardly more than one does:
1,000 rows of 13 columns take 0.25 ms. Nothing that fails here is raised into the shadow's other work: it is
logged once, and counted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.domain.drift.slots import TOLD_CELLS, TOLD_RIGHT, TOLD_WRONG, ModelKey
from service.domain.observation import Outcome, ShadowBatch
from service.domain.schema import FeatureBatch, ModelSpec, Scores
from service.domain.variables import answer_columns, variable_columns
from service.paths.looks import Looks

log = logging.getLogger("understudy.drift")

BATCH_ROWS = 2_048
"""So many rows are counted at once, by whoever brings the last of them."""
BATCH_BYTES = 1 << 20
"""Or rows of so many bytes: those of images are large."""


class Bins(Protocol):
    """A model's variables and their bins, see ``service.domain.binning``."""

    def counts(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Rows by bin of every variable, one after the other; one without a column has none."""


class Account(Protocol):
    """The ledger's page of distributions."""

    def count(self, outcome: Outcome, senders: NDArray[np.int16]) -> None: ...

    def bury(self, sender: int, handed: int) -> None:
        """Counts what a dead shadow held."""


class _Waiting(NamedTuple):
    rows: FeatureBatch
    scores: Scores
    own: NDArray[np.bool_]
    """Whose scores are the model's own, [rows]."""
    senders: NDArray[np.int16]


@dataclass(slots=True)
class Distributions:
    """Rows of one model in one role; used from several threads, and nothing raises.

    Args:
        model: whose rows.
        spec: the model.
        binning: its bins.
        cells: where they are counted, float64: as many as there are bins, and ``TOLD_CELLS``. It may outlive
            the process.
        account: told what became of every row; None where nobody asks.
    """

    model: ModelKey
    spec: ModelSpec
    binning: Bins
    cells: NDArray[np.float64]
    account: Account | None = None
    _waiting: list[_Waiting] = field(default_factory=list)
    _rows: int = 0
    _bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _counting: threading.Lock = field(default_factory=threading.Lock)
    """Held from taking rows to having counted them, so that ``seen`` finds none under way."""
    _complaints: set[str] = field(default_factory=set)

    def count(
        self,
        rows: FeatureBatch,
        scores: Scores,
        own: NDArray[np.bool_] | None = None,
        senders: NDArray[np.int16] | None = None,
    ) -> None:
        """Takes in rows that arrived.

        Args:
            rows: canonical rows of this model, [rows, width].
            scores: what was answered, [rows, outputs].
            own: whether this model answered, [rows]; of other rows only the inputs count. None: all.
            senders: the edge worker that each row came from, [rows]; only for the account.
        """
        count = len(rows)
        waiting = _Waiting(
            rows,
            scores,
            np.ones(count, np.bool_) if own is None else own,
            np.zeros(count, np.int16) if senders is None else senders,
        )
        with self._lock:
            self._waiting.append(waiting)
            self._rows += count
            self._bytes += rows.nbytes + scores.nbytes
            enough = self._rows >= BATCH_ROWS or self._bytes >= BATCH_BYTES
        if enough:
            self.settle()

    def count_column(self, variable: str, values: NDArray[np.floating[Any]]) -> None:
        """Takes in values of one variable that is not found in rows and scores, [rows]."""
        try:
            counts = self.binning.counts({variable: values})
        except Exception as error:  # a bug of ours
            self._complain(error)
        else:
            with self._lock:
                self.cells[:-TOLD_CELLS] += counts

    def told(self, right: int, rows: int) -> None:
        """Takes in how many of some rows the two-sample test told right."""
        with self._lock:
            self.cells[TOLD_RIGHT] += right
            self.cells[TOLD_WRONG] += rows - right

    def settle(self) -> None:
        """Counts the rows that wait."""
        with self._counting:
            with self._lock:
                waiting, self._waiting = self._waiting, []
                self._rows = self._bytes = 0
            if not waiting:
                return
            outcome: Outcome = "failed"
            try:
                counts = self._counts(waiting)
                with self._lock:
                    self.cells[:-TOLD_CELLS] += counts
                outcome = "counted"
            except Exception as error:  # a bug of ours
                self._complain(error)
            if self.account is not None:
                self.account.count(outcome, np.concatenate([each.senders for each in waiting]))

    def seen(self) -> NDArray[np.float64]:
        """Everything that was taken in so far, float64 [cells]."""
        self.settle()
        with self._lock:
            return np.array(self.cells)

    def _counts(self, waiting: list[_Waiting]) -> NDArray[np.float64]:
        rows, scores, own, _ = (
            columns[0] if len(waiting) == 1 else np.concatenate(columns)
            for columns in zip(*waiting, strict=True)
        )
        columns = dict(variable_columns(self.spec, rows))
        columns.update(answer_columns(self.spec, scores if own.all() else scores[own]))
        return self.binning.counts(columns)  # each column counts for itself, so lengths may differ

    def _complain(self, error: Exception) -> None:
        complaint = type(error).__name__
        if complaint not in self._complaints:  # a batch may come every few milliseconds
            self._complaints.add(complaint)
            log.error(
                "%s: rows are not counted (%s is logged once)", self.model.tag, complaint, exc_info=error
            )


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Production's rows as they arrive; called by the receiver.

    Args:
        account: the ledger's page.
        distributions: None where production is unfit, so that nobody knows its bins.
        looks: has a closer look at some of the rows; None where nobody asks for it.
    """

    account: Account
    distributions: Distributions | None = None
    looks: Looks | None = None

    def offer(self, batch: ShadowBatch) -> None:
        """Takes in what was answered. Of what a canary answered only the inputs are production's."""
        if self.distributions is None:
            self.account.count("failed", batch.senders)
            return
        self.distributions.count(batch.rows, batch.scores, ~batch.canary, batch.senders)
        if self.looks is not None:
            self.looks.offer(batch.rows)
