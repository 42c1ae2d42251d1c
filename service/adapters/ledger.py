"""Every mirrored row's fate, in one shared file that outlives any process but the server.

Each candidate has a page of counts, and so have the records of what was answered, where they are kept, and
the distributions of what was asked, where rows are counted by bin.
Guarantee: at rest, on every page, rows offered by the edge = sum of its outcomes. Each count is one
aligned 8-byte store into a shared mapping, so a ``kill -9`` at any point loses no count; the rows that a
dead shadow or a dead edge held are found by arithmetic: handed over - accounted for, and offered - handed
over - decided. Only what an edge answered since its last turn (20 ms) dies with it, here and in
``understudy_predictions_total`` alike.
Cost: 64 senders x pages x 2 sides x 13 outcomes x 8 bytes, 13 KiB per page.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.domain.observation import COUNT_OUTCOMES, OUTCOMES, RECORD_OUTCOMES, Outcome
from service.errors import ConfigurationError

SENDERS = 64
"""Edge workers that can be told apart."""

_POSSIBLE = dict.fromkeys(OUTCOMES + RECORD_OUTCOMES + COUNT_OUTCOMES)
_COLUMN = {outcome: index for index, outcome in enumerate(_POSSIBLE)}

LAYOUT = (SENDERS, *_POSSIBLE)
"""Ledgers of the same pages are alike where this is the same."""


class Side(IntEnum):
    """Who decided an outcome. Each side writes only its own plane, so no update is lost."""

    EDGE = 0
    SHADOW = 1


class Ledger:
    """Counts of rows, shared by the edge workers and the shadow of one server.

    Args:
        path: the file; made where it is missing. Its directory must be emptied at server start.
        candidates: tags in configuration order, the same in every process. The i-th has page i.
        records: whether answers are recorded; their page comes after the candidates'.
        distributions: whether rows are counted by bin; their page is the last one.

    Raises:
        ConfigurationError: the file was made for another number of pages.
    """

    def __init__(
        self, path: Path, candidates: tuple[str, ...], *, records: bool = False, distributions: bool = False
    ) -> None:
        self.candidates = candidates
        self.pages = len(candidates) + records + distributions
        self.records = len(candidates) if records else None
        self.distributions = self.pages - 1 if distributions else None
        shape = (2, SENDERS, self.pages, len(_COLUMN))
        cells = int(np.prod(shape))
        words = cells + 2 * SENDERS + 3 * len(candidates)
        with path.open("ab") as file:
            present = file.tell()
            if present not in (0, words * 8):  # cutting it would pull the mapping from under a sibling
                found = f"{present} bytes, expected {words * 8}"
                raise ConfigurationError(f"{path} is another server's ledger: {found}")
            file.truncate(words * 8)  # zeros where new; no change where another process was first
        store = np.memmap(path, dtype=np.int64, mode="r+", shape=(words,))
        self._outcomes: NDArray[np.int64] = store[:cells].reshape(shape)
        self._handed: NDArray[np.int64] = store[cells : cells + SENDERS]
        self._offered: NDArray[np.int64] = store[cells + SENDERS : cells + 2 * SENDERS]
        self._states: NDArray[np.int64] = store[cells + 2 * SENDERS :].reshape(3, len(candidates))

    def count(self, side: Side, sender: int, page: int, outcome: Outcome, rows: int) -> None:
        """Adds ``rows`` of one edge worker to one outcome on one page."""
        self._outcomes[side, sender, page, _COLUMN[outcome]] += rows

    def count_by_sender(self, page: int, outcome: Outcome, senders: NDArray[np.int16]) -> None:
        """Adds one row for each entry of ``senders`` [rows]; for the shadow."""
        totals = np.bincount(senders, minlength=SENDERS)
        self._outcomes[Side.SHADOW, :, page, _COLUMN[outcome]] += totals

    def offer(self, sender: int, rows: int) -> None:
        """Notes ``rows`` as answered by an edge worker, before any of them has an outcome for good."""
        self._offered[sender] += rows

    def unaccounted(self, sender: int) -> int:
        """Answered rows of an edge worker that it neither handed over nor decided itself.

        An edge decides for all pages alike, so the outcomes on the first one stand for all.
        """
        decided = int(self._outcomes[Side.EDGE, sender, 0].sum())
        return int(self._offered[sender]) - int(self._handed[sender]) - decided

    def handed(self, sender: int) -> int:
        """Rows that an edge worker has handed to the shadow's socket since server start."""
        return int(self._handed[sender])

    def hand_over(self, sender: int, rows: int) -> None:
        """Notes ``rows`` as handed over by an edge worker; negative where they were not after all."""
        self._handed[sender] += rows

    def accounted(self, sender: int, page: int) -> int:
        """Handed-over rows of an edge worker whose outcome the shadow has decided."""
        return int(self._outcomes[Side.SHADOW, sender, page].sum())

    def owing(self) -> list[int]:
        """Edge workers that handed over rows whose outcome is still to come, on any page."""
        decided = self._outcomes[Side.SHADOW].sum(axis=2)
        return [int(each) for each in np.flatnonzero((self._handed[:, None] > decided).any(axis=1))]

    def totals(self, page: int) -> dict[Outcome, int]:
        """Rows by outcome, over all workers and both sides."""
        sums = self._outcomes[:, :, page].sum(axis=(0, 1))
        possible = OUTCOMES
        if page == self.records:
            possible = RECORD_OUTCOMES
        elif page == self.distributions:
            possible = COUNT_OUTCOMES
        return {outcome: int(sums[_COLUMN[outcome]]) for outcome in possible}

    def in_flight(self, page: int) -> int:
        """Rows handed over whose outcome is not decided yet."""
        decided = self._outcomes[Side.SHADOW, :, page].sum()
        return max(0, int(self._handed.sum() - decided))

    def running(self, candidate: int) -> bool:
        """Whether the candidate was in a run when the shadow was last seen."""
        return bool(self._states[0, candidate])

    def set_running(self, candidate: int, running: bool) -> None:
        """Marks a run's begin and end: what is still marked after a crash names its cause."""
        self._states[0, candidate] = running

    def crashes(self, candidate: int) -> int:
        """Times in a row that the shadow died while this candidate ran."""
        return int(self._states[1, candidate])

    def set_crashes(self, candidate: int, crashes: int) -> None:
        """Stores the number of crashes in a row."""
        self._states[1, candidate] = crashes

    def breaker_open(self, candidate: int) -> bool:
        """Whether the shadow has paused the candidate."""
        return bool(self._states[2, candidate])

    def set_breaker_open(self, candidate: int, is_open: bool) -> None:
        """Publishes the breaker's state for reports."""
        self._states[2, candidate] = is_open
