"""What the service counts about its shadows, read from ``/metrics``: is every answered row accounted for?"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from load_tests.server import get

PREDICTIONS, SHADOW_ROWS = "understudy_predictions_total", "understudy_shadow_rows_total"
COMPARED = "compared"


@dataclass(frozen=True, slots=True)
class Accounting:
    """Rows answered, and per candidate what became of them."""

    answered: int
    outcomes: Mapping[str, Mapping[str, int]]
    """Candidate to outcome to rows."""

    def missing(self, candidate: str) -> int:
        """Answered rows without an outcome; negative when some were counted twice."""
        return self.answered - sum(self.outcomes[candidate].values())

    @property
    def balanced(self) -> bool:
        """Whether the outcomes of every candidate add up to the rows answered."""
        return all(self.missing(candidate) == 0 for candidate in self.outcomes)

    def since(self, earlier: Accounting) -> Accounting:
        """What was counted after ``earlier``."""
        outcomes = {
            candidate: {
                name: rows - earlier.outcomes.get(candidate, {}).get(name, 0) for name, rows in found.items()
            }
            for candidate, found in self.outcomes.items()
        }
        return Accounting(self.answered - earlier.answered, outcomes)

    def coverage(self, candidate: str) -> float:
        """Share of the answered rows that were compared with this candidate."""
        return self.outcomes[candidate].get(COMPARED, 0) / max(self.answered, 1)


def accounting(exposition: str) -> Accounting:
    """The counts in a page of Prometheus text."""
    answered = 0.0
    outcomes: dict[str, dict[str, int]] = defaultdict(dict)
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == PREDICTIONS:
                answered += sample.value
            elif sample.name == SHADOW_ROWS:
                found = outcomes[sample.labels["candidate"]]
                outcome = sample.labels["outcome"]
                found[outcome] = found.get(outcome, 0) + int(sample.value)
    return Accounting(int(answered), dict(outcomes))


def read(address: tuple[str, int]) -> Accounting:
    """Raises ``OSError`` when the server does not answer and ``ValueError`` when it has no metrics."""
    status, body = get(address, "/metrics", timeout=10)
    if status != 200:
        raise ValueError(f"/metrics answers {status}")
    return accounting(body.decode())


def settled(address: tuple[str, int], timeout: float) -> Accounting:
    """The accounting once every row has its outcome and nothing moves, or as it is at ``timeout``."""
    end = time.monotonic() + timeout
    last = read(address)
    while time.monotonic() < end:
        time.sleep(0.5)
        found = read(address)
        if found == last and found.balanced:
            return found
        last = found
    return last
