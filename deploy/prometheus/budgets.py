"""What alerts allow: the one place to change a budget or a bound that only alerts know.

What the service itself judges by is imported from it: see ``service.domain.drift.alerting`` for the bounds of
drift and ``service.sections.VerdictSettings`` for those of a verdict.

A burn rate is how many times faster than evenly a budget is spent. A budget of 30 days that burns 14.4 times
too fast loses 2 % in an hour, 6 times too fast 5 % in six hours (Beyer et al., The Site Reliability Workbook,
2018, chapter 5). The short window beside each long one lets the alert end soon after its cause.
"""

from __future__ import annotations

from typing import NamedTuple

from service.sections import VerdictSettings

VERDICT = VerdictSettings()
"""The bounds of a service whose configuration says nothing else."""

UNAVAILABLE = 0.001
"""Share of the prediction requests that may be answered 5xx: 99.9 % availability."""
SLOW = 0.01
"""Share of the answers that may take longer than ``edge.SLOW_SECONDS``."""
FLIPPED = 0.01
"""Share of the compared rows that a candidate may label differently; six times that is just above what the
verdict allows, so that no alert complains of a candidate that the verdict would promote."""


class Burn(NamedTuple):
    """How fast a budget is spent, and for how long."""

    rate: float
    long: str
    short: str
    lasting: str
    """How long it must be so before anybody is told."""


FAST = Burn(14.4, "1h", "5m", "2m")
CREEPING = Burn(6, "6h", "30m", "15m")

LEAST_EVENTS = 10
"""Failed or slow answers in the long window; of 60 requests at night one failure is 17 times the budget."""
LEAST_COMPARED = 500
"""Rows of a slice in the long window."""
LEAST_MIRRORED = 100
"""Rows in half an hour, below which nobody says that a shadow is blind."""
REFUSED = 0.05
"""Share of the prediction requests answered 422."""
LEAST_REFUSED = 50
"""Requests in an hour."""
MORE = 0.02
"""Share of the rows by which missing or unseen values are more than in the reference data, and at least twice
as many: below that a variable's PSI says it in time."""
TIMES = 2
SRM = 0.25
"""By how much of itself the smaller arm of a canary is too large or too small."""
LEAST_ASSIGNED = 1000
"""Requests in an hour that a routing key assigned."""
UNCOVERED = 0.03
"""By how much less than promised regions may cover: three standard deviations of what 1,000 rows of
calibration leave open at a confidence of 0.9 (Angelopoulos & Bates, 2021, section 3.2)."""
