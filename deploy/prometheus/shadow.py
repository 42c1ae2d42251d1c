"""How candidates differ from production, and how much of the traffic they saw.

A series of flips is born with the first flip of its kind, and what a series had when it was first scraped is
no increase: of each replica, slice and pair of labels the flips before that scrape are not seen. Everything
else begins at nought.
"""

from __future__ import annotations

from deploy.prometheus.promql import Group, Rule, groups_over, over
from deploy.prometheus.windows import BURN

FLIPS = Rule(
    "shadow_flip_ratio:$w",
    over(
        "sum by (candidate, slice) (increase(understudy_shadow_flips_total[$w]))",
        "sum by (candidate, slice) (increase(understudy_shadow_compared_rows_total[$w]))",
    ),
)
"""Share of the compared rows that the candidate labels differently; 0 throughout for a regression."""

PRESENT = (
    Rule(
        "shadow_compared_rows:rate5m",
        'sum by (candidate) (rate(understudy_shadow_compared_rows_total{slice="all"}[5m]))',
    ),
    Rule(
        "shadow_outcome_ratio:30m",
        """
        sum by (candidate, outcome) (increase(understudy_shadow_rows_total[30m]))
        / on (candidate) group_left ()
        (sum by (candidate) (increase(understudy_shadow_rows_total[30m])) > 0)
        """,
    ),
    Rule(
        "shadow_coverage_ratio:30m",
        'sum by (candidate) (understudy:shadow_outcome_ratio:30m{outcome="compared"})',
    ),
    Rule(
        "shadow_gap_mean:1h",
        """
        sum by (candidate) (increase(understudy_shadow_gap_sum[1h]))
        / (sum by (candidate) (increase(understudy_shadow_gap_count[1h])) > 0)
        """,
    ),
)


def groups() -> list[Group]:
    """One for what is looked at often, one for the longest window."""
    return groups_over("shadow", BURN, [FLIPS], PRESENT)
