"""*Canary*: whether the candidate that answers some of the callers gets its share, and how it does."""

from __future__ import annotations

from deploy.grafana.board import Board, label_values
from deploy.grafana.panel import FINE, WATCH, Kind, Panel, Query, Row, apart, more_is_worse, or_nought
from deploy.prometheus.budgets import CREEPING, FAST, UNAVAILABLE
from deploy.prometheus.edge import SLOW_SECONDS
from deploy.prometheus.windows import BURN
from service.domain.drift.alerting import SURE

JOB = 'job="$job"'
THIS = f'{JOB},candidate="$candidate"'
SRM = ("CanarySRM",)
LATENCY = ("LatencyFast", "LatencySlow")
SHARE = f"max(understudy_canary_share_ratio{{{THIS}}})"
OBSERVED = f"""
sum(understudy:canary_requests:increase1h{{{JOB},arm="canary"}})
/ sum(understudy:canary_assigned_requests:increase1h{{{JOB}}})
""".strip()
FALLBACKS = f"increase(understudy_canary_fallbacks_total{{{THIS}}}[1h])"
NO_HOUR = "no full hour of one share"
LABELLED = "sum by (model, version, arm) (increase(understudy_labels_total{{{}}}[24h]))"

SHARE_ROW = Row(
    "Share",
    (
        Panel(
            Kind.NUMBER,
            "Share",
            "Share of the routing keys that the candidate answers now.",
            "percentunit",
            (Query(or_nought(SHARE), "share"),),
            SRM,
            width=5,
            height=4,
        ),
        Panel(
            Kind.NUMBER,
            "Share observed, last hour",
            "Share of the requests assigned by a routing key that the candidate did answer.",
            "percentunit",
            (Query(or_nought(OBSERVED), "share observed"),),
            SRM,
            width=5,
            height=4,
        ),
        Panel(
            Kind.NUMBER,
            "Sample ratio mismatch",
            f"""Standard deviations by which the candidate answered more requests than its share, in a full
            hour of one share. Beyond {SURE:g} the callers of the two arms may not be alike.""",
            "suffix:sd",
            (Query(f"understudy:canary_srm_z:1h{{{THIS}}}", "z"),),
            SRM,
            apart(SURE),
            empty=NO_HOUR,
            width=5,
            height=4,
        ),
        Panel(
            Kind.NUMBER,
            "Requests of the canary, last hour",
            "Requests that the candidate answered.",
            "short",
            (
                Query(
                    or_nought(f'sum(understudy:canary_requests:increase1h{{{JOB},arm="canary"}})'), "requests"
                ),
            ),
            SRM,
            width=5,
            height=4,
        ),
        Panel(
            Kind.NUMBER,
            "Fallbacks, last hour",
            "Requests that production answered since the candidate could not in time.",
            "short",
            (Query(or_nought(f"sum({FALLBACKS})"), "fallbacks"),),
            LATENCY,
            more_is_worse(1),
            width=4,
            height=4,
        ),
        Panel(
            Kind.LINES,
            "Share, as set and as observed",
            "Of the routing keys as set; of the last hour's requests as observed, which lags behind a ramp.",
            "percentunit",
            (Query(or_nought(SHARE), "as set"), Query(or_nought(OBSERVED), "observed, 1h")),
            SRM,
            least=0,
            width=8,
        ),
        Panel(
            Kind.STACK,
            "Requests by arm, by hour",
            "Requests answered by each arm in the hour before.",
            "short",
            (Query(f"sum by (arm) (understudy:canary_requests:increase1h{{{JOB}}})", "{{arm}}"),),
            SRM,
            least=0,
            width=8,
        ),
        Panel(
            Kind.LINES,
            "Sample ratio mismatch over time",
            f"z of the requests that the candidate answered; beyond {SURE:g} (dashed) it is not chance.",
            "suffix:sd",
            (Query(f"understudy:canary_srm_z:1h{{{THIS}}}", "{{candidate}}"),),
            SRM,
            apart(SURE),
            empty=NO_HOUR,
            width=8,
        ),
    ),
)

ANSWERS_ROW = Row(
    "Answers of the two arms",
    (
        Panel(
            Kind.LINES,
            "Duration by arm: median",
            "From the request's last byte to the answer's hand-over to the socket, over five minutes.",
            "s",
            (Query(f"understudy:predict_seconds:p50_5m{{{JOB}}}", "{{arm}}"),),
            LATENCY,
            more_is_worse(SLOW_SECONDS),
            least=0,
        ),
        Panel(
            Kind.LINES,
            "Duration by arm: 99 in 100",
            "From the request's last byte to the answer's hand-over to the socket, over five minutes.",
            "s",
            (Query(f"understudy:predict_seconds:p99_5m{{{JOB}}}", "{{arm}}"),),
            LATENCY,
            more_is_worse(SLOW_SECONDS),
            least=0,
        ),
        Panel(
            Kind.STACK,
            "Fallbacks by reason, by hour",
            "Requests that production answered because the candidate could not, by the reason.",
            "short",
            (Query(or_nought(f"sum by (reason) ({FALLBACKS})", reason="none"), "{{reason}}"),),
            LATENCY,
            ((None, FINE), (1, WATCH)),
            least=0,
        ),
        Panel(
            Kind.LINES,
            "Errors",
            """Share of the prediction requests answered 5xx, of both arms: where the candidate fails,
            production answers. Dashed: where an hour of it writes alerts.""",
            "percentunit",
            tuple(Query(f"understudy:error_ratio:{window}{{{JOB}}}", window) for window in BURN),
            ("AvailabilityFast", "AvailabilitySlow"),
            more_is_worse(CREEPING.rate * UNAVAILABLE, FAST.rate * UNAVAILABLE),
            least=0,
        ),
        Panel(
            Kind.LINES,
            "Labels told, by arm",
            "Share of an arm's rows that got each label, over an hour.",
            "percentunit",
            (
                Query(
                    f"""sum by (arm, label) (increase(understudy_predictions_total{{{JOB}}}[1h]))
                    / on (arm) group_left ()
                    (sum by (arm) (increase(understudy_predictions_total{{{JOB}}}[1h])) > 0)""",
                    "{{arm}}: {{label}}",
                ),
            ),
            ("DriftPage", "VerdictRollback"),
            least=0,
            most=1,
            width=24,
        ),
    ),
)

LABELS_ROW = Row(
    "What labels say of the two arms",
    (
        Panel(
            Kind.LINES,
            "Accuracy by arm",
            """Share of the labelled answers of the last day that were right. Each arm has callers of its own;
            what the candidate would have said to all of them is in the verdict.""",
            "percentunit",
            (Query("understudy:accuracy_ratio:24h", "{{arm}} {{model}}:{{version}}"),),
            ("VerdictRollback",),
            most=1,
            empty="no labels",
            width=8,
        ),
        Panel(
            Kind.STACK,
            "Labels by arm, by day",
            "Answered rows whose label came in the last day.",
            "short",
            (Query(or_nought(LABELLED.format(JOB), arm="none"), "{{arm}} {{model}}:{{version}}"),),
            ("StoreFailing",),
            least=0,
            width=8,
        ),
        Panel(
            Kind.LINES,
            "Coverage of label sets and intervals",
            """Share of the labels of the last day that were in the model's own label set or interval, and
            what it promises.""",
            "percentunit",
            (
                Query("understudy:conformal_coverage_ratio:24h", "{{model}}:{{version}}"),
                Query(
                    "max by (model, version) (understudy_conformal_confidence_ratio)",
                    "promised {{model}}:{{version}}",
                ),
            ),
            ("ConformalCoverageLow",),
            most=1,
            empty="no labels",
            width=8,
        ),
    ),
)

BOARD = Board(
    "canary",
    "Understudy: canary",
    "Whether the candidate that answers some of the callers gets its share of them, and how it does.",
    (
        label_values(
            "job", "job", "understudy_build_info", "Prometheus' name of a service and its replicas."
        ),
        label_values(
            "candidate",
            "candidate",
            'understudy_canary_share_ratio{job="$job"}',
            "The model that answers some of the callers; NAME:VERSION.",
        ),
    ),
    (SHARE_ROW, ANSWERS_ROW, LABELS_ROW),
    since="3h",
)
