"""Production is asked again, in other ways and beside the candidate: what is noise, and what the CPU costs.

A share of the compared batches is run again. Whatever production answers differently the second time is no
difference between two models; and its CPU seconds for the very batch that the candidate just answered are
what the candidate's are to be compared with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.measure import Compared
from service.domain.evidence import speed
from service.domain.evidence.books import NOISE, SPEED, Books, Page, add
from service.domain.evidence.sheet import Sheet
from service.domain.schema import FeatureBatch, Scores
from service.domain.slices import ALL

FIRST_ROWS, FIRST_RATE = 1_000, 0.5
"""So many rows are run again soon: no difference can be told from noise of which nothing is known."""

Answer = Callable[[FeatureBatch, float], Scores]
"""Production's scores [rows, outputs] of rows [rows, width], before a deadline of ``time.monotonic()``."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Another way to run production."""

    name: str
    """``threads``, ``alone``, ``session`` or ``provider``."""
    answer: Answer
    rows: int = 64
    """Rows of one batch that are run again at most."""
    alone: bool = False
    """Whether each row is a batch of its own."""


@dataclass(slots=True)
class Repeats:
    """Runs production again; works in the candidate's thread.

    Args:
        sheet: of production beside itself, with the columns of the comparisons.
        variants: the ways; those that fail are left out of what is counted.
        usual: production as it runs beside the candidate, for its CPU seconds; None where nobody asks.
        rate: share of the batches, 0 to 1, drawn with a fixed seed.
        seconds: that all runs of one batch may take together.
    """

    sheet: Sheet
    variants: tuple[Variant, ...]
    usual: Answer | None
    rate: float
    seconds: float = 2.0
    clock: Callable[[], float] = time.monotonic
    cpu: Callable[[], float] = time.thread_time
    _draw: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    _rows: int = 0
    """Run again so far."""

    def wanted(self) -> bool:
        """Whether the next batch is one of them: every second one at first, then as many as ``rate`` says."""
        rate = max(self.rate, FIRST_RATE) if self._rows < FIRST_ROWS else self.rate
        return self.rate > 0 and float(self._draw.random()) < rate

    def run(
        self,
        rows: FeatureBatch,
        before: Scores,
        asked: NDArray[np.bool_],
        seconds: float,
        left: float,
    ) -> Books:
        """What running production again says of one batch; the books noise and speed.

        Args:
            rows: canonical, [rows, width].
            before: what production answered.
            asked: the rows that it answered to a caller, [rows]; the others it answered here.
            seconds: CPU seconds that the candidate took for all rows.
            left: seconds that there are; nothing is begun after them.

        Raises:
            InferenceError, DeadlineError: production failed; nothing of this batch is counted.
        """
        self._rows += len(rows)
        due = self.clock() + min(left, self.seconds)
        found: list[Books] = []
        if self.usual is not None:
            started = self.cpu()
            self.usual(rows, due)
            took = self.cpu() - started
            found.append({Page(SPEED, ALL): speed.run(len(rows), took, seconds)})
        for variant in self.variants:
            which = np.flatnonzero(asked)[: variant.rows]
            if len(which) and self.clock() < due:
                found.append(self._differs(variant, rows[which], before[which], due))
        return add(found)

    def _differs(self, variant: Variant, rows: FeatureBatch, before: Scores, due: float) -> Books:
        if variant.alone:
            each = [variant.answer(rows[index : index + 1], due) for index in range(len(rows))]
            again = np.concatenate(each)
        else:
            again = variant.answer(rows, due)
        compared = Compared(before, again)
        everything = {ALL: np.ones(len(rows), dtype=np.bool_)}
        return {Page(NOISE, variant.name): self.sheet.tally(compared, everything)[ALL]}
