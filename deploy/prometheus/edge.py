"""Requests: how many, how many failed, how many were slow.

These keep ``job``: their families do not name the model, and one Prometheus may watch several services.
"""

from __future__ import annotations

from deploy.prometheus.promql import Group, Rule, groups_over, over
from deploy.prometheus.windows import BURN

PREDICTIONS = "/predict|/v1/models/.+:predict|/v2/models/.+/infer"
"""Routes whose failure costs somebody a prediction."""
SLOW_SECONDS = 0.05
"""An upper bound of a bucket of ``understudy_predict_seconds``."""
QUICK = f'bucket{{le="{SLOW_SECONDS}"}}'
QUANTILES = {"p50": 0.5, "p99": 0.99}


def _asked(code: str = ".*") -> str:
    chosen = f'route=~"{PREDICTIONS}",code=~"{code}"'
    return f"sum by (job) (rate(understudy_requests_total{{{chosen}}}[$w]))"


def _answered(bucket: str) -> str:
    return f"sum by (job) (rate(understudy_predict_seconds_{bucket}[$w]))"


BURNING = (
    Rule("error_ratio:$w", over(_asked("5.."), _asked())),
    Rule(
        "slow_ratio:$w",
        f"clamp_min(1 - {_answered(QUICK)} / ({_answered('count')} > 0), 0)",
    ),
)
"""Share of the prediction requests answered 5xx, of which 503 is one; of the answers that took longer."""

PRESENT = (
    Rule("requests:rate5m", "sum by (job, route, code) (rate(understudy_requests_total[5m]))"),
    *(
        Rule(
            f"predict_seconds:{name}_5m",
            f"""
            histogram_quantile(
              {quantile}, sum by (job, arm, le) (rate(understudy_predict_seconds_bucket[5m]))
            ) > 0
            """,
        )
        for name, quantile in QUANTILES.items()
    ),
)
"""A quantile of no answer is NaN, and no more than nought is what NaN is not."""


def groups() -> list[Group]:
    """One for what is looked at often, one for the longest window."""
    return groups_over("edge", BURN, BURNING, PRESENT)
