"""The shadow's front door: spreads arriving rows over the candidates, and finds those that never arrived."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.domain.observation import Parts, ShadowBatch
from service.paths.distributions import Arrivals
from service.paths.recorder import NoRecorder, Recorder
from service.paths.shadow import Account, CandidateShadow


@dataclass(frozen=True, slots=True)
class RefusedCandidate:
    """A candidate that could not be loaded, or does not fit production."""

    account: Account

    def offer(self, batch: ShadowBatch) -> None:
        """Counts the rows; nobody answers them."""
        self.account.count("candidate_error", batch.senders)


@dataclass(slots=True)
class ShadowReceiver:
    """Spreads arriving rows over whoever wants them, and finds the rows that never arrived."""

    candidates: tuple[CandidateShadow | RefusedCandidate, ...]
    recorder: Recorder | NoRecorder | None = None
    """None where answers are not recorded."""
    arrivals: Arrivals | None = None
    """None where rows are not counted by bin."""
    _expected: dict[int, int] = field(default_factory=dict)

    def running(self) -> list[CandidateShadow]:
        """The candidates that want a thread."""
        return [shadow for shadow in self.candidates if isinstance(shadow, CandidateShadow)]

    def receive(
        self, sender: int, first: int, rows: int, batch: ShadowBatch | None, parts: Parts | None = None
    ) -> None:
        """Takes one frame: ``rows`` of an edge worker that had handed over ``first`` before.

        ``batch`` and ``parts`` are None for a heartbeat, and for rows that nobody can judge.
        """
        missing = first - self._expected.get(sender, first)
        beside = [each for each in (self.recorder, self.arrivals) if each is not None]
        for reader in (*self.candidates, *beside):
            if sender not in self._expected:
                reader.account.bury(sender, first)
            elif missing > 0:
                reader.account.count("shadow_down", np.full(missing, sender, dtype=np.int16))
        if rows:
            self._spread(np.full(rows, sender, dtype=np.int16), batch, parts)
        self._expected[sender] = first + rows

    def part(self, sender: int, handed: int) -> None:
        """Takes leave of an edge worker that ended when it had handed over ``handed`` rows.

        Nothing of it may be on its way any more; where it was born again meanwhile, nothing changes.
        """
        if handed > self._expected.get(sender, -1):
            self.receive(sender, handed, 0, None)

    def _spread(self, senders: NDArray[np.int16], batch: ShadowBatch | None, parts: Parts | None) -> None:
        for shadow in self.candidates:
            if batch is not None:
                shadow.offer(batch)
            else:  # production is unfit, so there is nothing to compare with
                shadow.account.count("candidate_error", senders)
        if self.recorder is not None:
            if batch is not None and parts is not None:
                self.recorder.offer(batch, parts)
            else:
                self.recorder.account.count("store_error", senders)
        if self.arrivals is not None:
            if batch is not None:
                self.arrivals.offer(batch)
            else:
                self.arrivals.account.count("failed", senders)
