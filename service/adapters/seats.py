"""Numbers of edge workers, each held by one living process at most.

A number outlives its process in the ledger, with whatever that process left undecided. Its successor settles
it, but where there are fewer workers than before, or another server for a while, nobody has that number.
Then whoever gets hold of it for a moment may settle it: no other can come meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from service.adapters.ledger import SENDERS, Ledger
from service.adapters.mirror import bury
from service.adapters.presence import Presence
from service.errors import ConfigurationError


class Seats:
    """The edge workers' numbers in one ledger.

    Args:
        directory: where the ledger is; it takes one empty file for each number that was ever held.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def take(self, wanted: int) -> tuple[int, Presence]:
        """A number for this process, the wanted one if it is free, and what holds it.

        Raises:
            ConfigurationError: all are held.
        """
        for step in range(SENDERS):
            number = (wanted + step) % SENDERS
            if (held := Presence.alone(self._path(number))) is not None:
                return number, held
        raise ConfigurationError(f"more than {SENDERS} edge workers use {self._directory}")

    def vacant(self, numbers: Iterable[int]) -> Iterator[int]:
        """Those of ``numbers`` that nobody holds; each stays so until the next one is asked for."""
        for number in numbers:
            held = Presence.alone(self._path(number))
            if held is not None:
                try:
                    yield number
                finally:
                    held.leave()

    def _path(self, number: int) -> Path:
        return self._directory / f"edge-{number}.lock"


def bury_vacant(ledger: Ledger, seats: Seats) -> None:
    """Counts what edge workers that nobody succeeded took to their graves."""
    for number in seats.vacant([each for each in range(SENDERS) if ledger.unaccounted(each)]):
        bury(ledger, number)


def departed(ledger: Ledger, seats: Seats) -> list[tuple[int, int]]:
    """Edge workers that are gone while rows of theirs have no outcome: number, and rows handed over."""
    return [(number, ledger.handed(number)) for number in seats.vacant(ledger.owing())]
