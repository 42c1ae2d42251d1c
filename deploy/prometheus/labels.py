"""What labels that came later say: how often answers were right, and covered by what was promised of them."""

from __future__ import annotations

from deploy.prometheus.promql import Group, Rule, group, over
from deploy.prometheus.windows import INTERVALS

RIGHT = 'sum by (model, version, arm) (increase(understudy_labels_total{{correct=~"{}"}}[24h]))'

RULES = (
    Rule(
        "conformal_labelled:24h",
        "sum by (model, version) (increase(understudy_conformal_labelled_total[24h])) > 0",
    ),
    Rule(
        "conformal_coverage_ratio:24h",
        over(
            "sum by (model, version) (increase(understudy_conformal_covered_total[24h]))",
            "understudy:conformal_labelled:24h",
        ),
    ),
    # A regression's labels are neither right nor wrong.
    Rule("accuracy_ratio:24h", over(RIGHT.format("true"), RIGHT.format("true|false"))),
)


def groups() -> list[Group]:
    """One."""
    return [group("labels", INTERVALS["24h"], RULES)]
