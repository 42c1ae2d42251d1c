"""Whether the canary gets the share of the requests that it should.

With s the share, n the requests that a routing key assigned and k those that the canary answered, k is
binomial where keys are many and of equal use, and z = (k - n s) / sqrt(n s (1 - s)). A caller who sends much
under one key makes z large: who alerts on it looks at k / n against s as well, and at n.

z is of a full hour of one share: while the share is young or moves, n and s are not of the same requests.
Requests for a fixed version never go to the canary and are no part of n.
"""

from __future__ import annotations

from deploy.prometheus.promql import Group, Rule, group
from deploy.prometheus.windows import OFTEN

FIXED = "/v2/models/.+/versions/.+/infer"
"""Routes that production answers, whatever the key."""

RULES = (
    Rule(
        "canary_requests:increase1h",
        "sum by (job, arm) (increase(understudy_predict_seconds_count[1h]))",
    ),
    Rule(
        "canary_assigned_requests:increase1h",
        f"""
        sum by (job) (understudy:canary_requests:increase1h)
        -
        (
            sum by (job) (increase(understudy_requests_total{{route=~"{FIXED}",code="200"}}[1h]))
          or
            sum by (job) (understudy:canary_requests:increase1h) * 0
        )
        > 0
        """,
    ),
    Rule(
        "canary_share_ratio:1h",
        """
        max by (job, candidate) (max_over_time(understudy_canary_share_ratio[1h]))
        == min by (job, candidate) (min_over_time(understudy_canary_share_ratio[1h]))
        == max by (job, candidate) (understudy_canary_share_ratio offset 1h)
        > 0 < 1
        """,
    ),
    Rule(
        "canary_expected_requests:1h",
        """
        understudy:canary_share_ratio:1h
        * on (job) group_left () understudy:canary_assigned_requests:increase1h
        """,
    ),
    Rule(
        "canary_srm_z:1h",
        """
        (
          (
            sum by (job) (understudy:canary_requests:increase1h{arm="canary"})
            or understudy:canary_assigned_requests:increase1h * 0
          )
          - on (job) group_right () understudy:canary_expected_requests:1h
        )
        / sqrt(understudy:canary_expected_requests:1h * (1 - understudy:canary_share_ratio:1h))
        """,
    ),
)


def groups() -> list[Group]:
    """One."""
    return [group("canary", OFTEN, RULES)]
