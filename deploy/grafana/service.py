"""*Service*: what callers notice (rate, errors, duration), and how near the service is to its ends."""

from __future__ import annotations

from deploy.grafana.board import Board, label_values, several
from deploy.grafana.panel import (
    BAD,
    FINE,
    Kind,
    Panel,
    Query,
    Row,
    more_is_worse,
    or_nought,
)
from deploy.grafana.saturation import JOB, SATURATION_ROW
from deploy.prometheus.budgets import CREEPING, FAST, SLOW, UNAVAILABLE
from deploy.prometheus.edge import SLOW_SECONDS
from deploy.prometheus.windows import BURN

AVAILABILITY = ("AvailabilityFast", "AvailabilitySlow")
LATENCY = ("LatencyFast", "LatencySlow")
ERRORS = more_is_worse(CREEPING.rate * UNAVAILABLE, FAST.rate * UNAVAILABLE)
SLOWNESS = more_is_worse(CREEPING.rate * SLOW, FAST.rate * SLOW)
BURNS = more_is_worse(CREEPING.rate, FAST.rate)
MILLISECONDS = f"{1000 * SLOW_SECONDS:g} ms"
ARMS = ("p50", "p99")


def burn(ratio: str, budget: float) -> tuple[Query, ...]:
    """How many times faster than evenly a budget is spent, by window."""
    return tuple(
        Query(f"understudy:{ratio}:{window}{{{JOB}}} / {budget}", f"{window} {{{{job}}}}") for window in BURN
    )


NOW_ROW = Row(
    "Now",
    (
        Panel(
            Kind.NUMBER,
            "Requests",
            "Requests a second over five minutes, of all routes.",
            "reqps",
            (Query(f"sum(understudy:requests:rate5m{{{JOB}}})", "requests"),),
            ("Down",),
            empty="no traffic",
            width=4,
            height=4,
        ),
        Panel(
            Kind.NUMBER,
            "Errors",
            f"Share of the prediction requests answered 5xx, over 5 minutes. Budget: {UNAVAILABLE:.1%}.",
            "percentunit",
            (Query(f"max(understudy:error_ratio:5m{{{JOB}}})", "errors"),),
            AVAILABILITY,
            ERRORS,
            empty="no traffic",
            width=4,
            height=4,
        ),
        Panel(
            Kind.NUMBER,
            "Slow answers",
            f"Share of the answers slower than {MILLISECONDS}, over five minutes. The budget is {SLOW:.0%}.",
            "percentunit",
            (Query(f"max(understudy:slow_ratio:5m{{{JOB}}})", "slow"),),
            LATENCY,
            SLOWNESS,
            empty="no traffic",
            width=4,
            height=4,
        ),
        Panel(
            Kind.NUMBER,
            "Replicas",
            "Replicas that Prometheus can read.",
            "short",
            (Query(f"sum(up{{{JOB}}})", "replicas"),),
            ("Down",),
            ((None, BAD), (1, FINE)),
            empty="none",
            width=4,
            height=4,
        ),
        Panel(
            Kind.NUMBER,
            "Models refused",
            "Models that at least one replica cannot use; a refused production model answers 503.",
            "short",
            (
                Query(
                    or_nought(f"count(min by (model, version, role) (understudy_model_ready{{{JOB}}}) == 0)"),
                    "refused",
                ),
            ),
            ("ModelNotReady",),
            more_is_worse(1),
            width=4,
            height=4,
        ),
        Panel(
            Kind.NUMBER,
            "Alerts firing",
            "Of every kind, on every service that this Prometheus watches.",
            "short",
            (Query(or_nought('count(ALERTS{alertname=~"Understudy.+",alertstate="firing"})'), "alerts"),),
            ("DriftPage", "VerdictRollback"),
            more_is_worse(1),
            width=4,
            height=4,
        ),
    ),
)

CALLERS_ROW = Row(
    "Rate, errors, duration",
    (
        Panel(
            Kind.STACK,
            "Requests by route and status",
            "Requests a second over five minutes, by the template of their path.",
            "reqps",
            (Query(f"sum by (route, code) (understudy:requests:rate5m{{{JOB}}}) > 0", "{{route}} {{code}}"),),
            ("InputsRefused", *AVAILABILITY),
            least=0,
        ),
        Panel(
            Kind.LINES,
            "Share of the prediction requests that failed",
            "Answered 5xx, of which 503 is one. Dashed: where an hour of it writes alerts.",
            "percentunit",
            tuple(
                Query(f"understudy:error_ratio:{window}{{{JOB}}}", f"{window} {{{{job}}}}")
                for window in BURN[::2]
            ),
            AVAILABILITY,
            ERRORS,
            least=0,
        ),
        Panel(
            Kind.LINES,
            "Duration by arm",
            "From the request's last byte to the answer's hand-over to the socket, over five minutes.",
            "s",
            tuple(
                Query(f"understudy:predict_seconds:{name}_5m{{{JOB}}}", f"{name} {{{{arm}}}}")
                for name in ARMS
            ),
            LATENCY,
            more_is_worse(SLOW_SECONDS),
            least=0,
        ),
        Panel(
            Kind.HISTOGRAM,
            "Durations",
            "Requests by how long their answer took.",
            "s",
            (
                Query(
                    f"sum by (le) (increase(understudy_predict_seconds_bucket{{{JOB}}}[$__rate_interval]))",
                    "{{le}}",
                ),
            ),
            LATENCY,
        ),
        Panel(
            Kind.STACK,
            "Rows answered, by arm and label",
            "Rows a second over five minutes; value is a regression's answer, abstained is no label at all.",
            "rowsps",
            (
                Query(
                    f"sum by (arm, label) (rate(understudy_predictions_total{{{JOB}}}[5m]))",
                    "{{arm}}: {{label}}",
                ),
            ),
            ("DriftPage",),
            least=0,
        ),
        Panel(
            Kind.LINES,
            "Requests refused, of all prediction requests",
            "Share answered 422 over an hour, since they do not fit the schema.",
            "percentunit",
            (
                Query(
                    f"""(
                      sum by (job) (increase(understudy_requests_total{{{JOB},code="422"}}[1h]))
                      or sum by (job) (increase(understudy_requests_total{{{JOB}}}[1h])) * 0
                    )
                    / (sum by (job) (increase(understudy_requests_total{{{JOB}}}[1h])) > 0)""",
                    "{{job}}",
                ),
            ),
            ("InputsRefused",),
            least=0,
        ),
    ),
)

BUDGET_ROW = Row(
    "Budgets",
    (
        Panel(
            Kind.LINES,
            "How fast the budget of errors is spent",
            f"""Failed requests as a multiple of the budget of {UNAVAILABLE:.1%}, by window: 1 spends it
            evenly over its period. An alert wants a long and a short window above a dashed line.""",
            "suffix:times",
            burn("error_ratio", UNAVAILABLE),
            AVAILABILITY,
            BURNS,
            least=0,
        ),
        Panel(
            Kind.LINES,
            "How fast the budget of slow answers is spent",
            f"Answers slower than {MILLISECONDS} as a multiple of the budget of {SLOW:.0%}, by window.",
            "suffix:times",
            burn("slow_ratio", SLOW),
            LATENCY,
            BURNS,
            least=0,
        ),
    ),
)

BOARD = Board(
    "service",
    "Understudy: service",
    "What callers notice of a service, and how near it is to its ends.",
    (
        several(
            label_values(
                "job", "job", "understudy_build_info", "Prometheus' name of a service and its replicas."
            )
        ),
    ),
    (NOW_ROW, CALLERS_ROW, BUDGET_ROW, SATURATION_ROW),
    since="1h",
)
