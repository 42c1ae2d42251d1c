"""What callers notice: answers that fail, come late or promise too much; and a service that is not there."""

from __future__ import annotations

from deploy.prometheus.alarms.alarm import Alarm, Severity, group
from deploy.prometheus.budgets import (
    CREEPING,
    FAST,
    LEAST_ASSIGNED,
    LEAST_EVENTS,
    LEAST_REFUSED,
    REFUSED,
    SLOW,
    SRM,
    UNAVAILABLE,
    UNCOVERED,
    VERDICT,
    Burn,
)
from deploy.prometheus.edge import PREDICTIONS, SLOW_SECONDS
from deploy.prometheus.promql import Group
from service.domain.drift.alerting import SURE

PACES: tuple[tuple[str, Severity, Burn], ...] = (("Fast", "page", FAST), ("Slow", "ticket", CREEPING))
SEEN = "last_over_time(understudy_build_info[1d])"
"""Replicas that were there within a day."""
REPLICA = "by (job, model, version, role)"
PROMISED = "max by (model, version) (understudy_conformal_confidence_ratio)"


def _asked(window: str, code: str = "") -> str:
    chosen = f'route=~"{PREDICTIONS}"' + (f',code=~"{code}"' if code else "")
    return f"sum by (job) (increase(understudy_requests_total{{{chosen}}}[{window}]))"


def _burning(ratio: str, budget: float, burn: Burn) -> str:
    return f"""
        understudy:{ratio}:{burn.long} > {burn.rate:g} * {budget}
        and understudy:{ratio}:{burn.short} > {burn.rate:g} * {budget}"""


def _availability(pace: str, severity: Severity, burn: Burn) -> Alarm:
    return Alarm(
        name=f"Availability{pace}",
        severity=severity,
        expr=f"""{_burning("error_ratio", UNAVAILABLE, burn)}
        and {_asked(burn.long, "5..")} >= {LEAST_EVENTS}
        """,
        lasting=burn.lasting,
        summary="{{ $labels.job }} fails to answer",
        description=f"""
        {{{{ $labels.job }}}} answered {{{{ $value | humanizePercentage }}}} of its prediction requests with
        5xx over {burn.long}, and goes on doing so in the last {burn.short}. The budget is {UNAVAILABLE:.1%}.
        """,
    )


def _latency(pace: str, severity: Severity, burn: Burn) -> Alarm:
    answered = f"sum by (job) (increase(understudy_predict_seconds_count[{burn.long}]))"
    return Alarm(
        name=f"Latency{pace}",
        severity=severity,
        expr=f"""{_burning("slow_ratio", SLOW, burn)}
        and understudy:slow_ratio:{burn.long} * {answered} >= {LEAST_EVENTS}
        """,
        lasting=burn.lasting,
        summary="{{ $labels.job }} is slow to answer",
        description=f"""
        {{{{ $value | humanizePercentage }}}} of the answers of {{{{ $labels.job }}}} took longer than {
            1000 * SLOW_SECONDS:g} ms over {burn.long}, and do so in the last {burn.short}. The budget is {
            SLOW:.0%}.
        """,
    )


ALARMS = (
    *(_availability(*each) for each in PACES),
    *(_latency(*each) for each in PACES),
    # A share, since callers of one row and of a thousand break a schema equally often.
    Alarm(
        name="InputsRefused",
        severity="ticket",
        expr=f"""
        {_asked("1h", "422")} / {_asked("1h")} > {REFUSED}
        and {_asked("1h", "422")} >= {LEAST_REFUSED}
        """,
        lasting="15m",
        summary="{{ $labels.job }} refuses many requests",
        description="""
        In the last hour {{ $labels.job }} answered {{ $value | humanizePercentage }} of its prediction
        requests with 422, since they do not fit the schema.
        """,
    ),
    # A caller who sends much under one key makes z large, hence the effect; few requests make the effect
    # large, hence z.
    Alarm(
        name="CanarySRM",
        severity="ticket",
        expr=f"""
        understudy:canary_srm_z:1h
        and abs(understudy:canary_srm_z:1h) > {SURE:g}
        and
        abs(understudy:canary_srm_z:1h)
        * sqrt((1 - understudy:canary_share_ratio:1h) / understudy:canary_expected_requests:1h)
        * clamp_min(understudy:canary_share_ratio:1h / (1 - understudy:canary_share_ratio:1h), 1)
        > {SRM}
        and on (job) understudy:canary_assigned_requests:increase1h >= {LEAST_ASSIGNED}
        """,
        lasting="15m",
        summary="The canary {{ $labels.candidate }} does not get its share of the requests",
        description=f"""
        In the last hour {{{{ $labels.candidate }}}} answered {{{{ $value | printf "%.1f" }}}} standard
        deviations more requests than its share (below 0: less), and one of the two arms is off by more than
        {SRM:.0%}. What is said of the canary may be of other callers than production's.
        """,
    ),
    Alarm(
        name="ConformalCoverageLow",
        severity="ticket",
        expr=f"""
        understudy:conformal_coverage_ratio:24h < {PROMISED} - {UNCOVERED}
        and
        ({PROMISED} - understudy:conformal_coverage_ratio:24h)
        / sqrt({PROMISED} * (1 - {PROMISED}) / understudy:conformal_labelled:24h)
        > {SURE:g}
        and understudy:conformal_labelled:24h >= {VERDICT.least_labels}
        """,
        lasting="1h",
        summary="Regions of {{ $labels.model }}:{{ $labels.version }} miss the label too often",
        description="""
        Of the rows whose label came in the last day, {{ $value | humanizePercentage }} had it in their label
        set or interval. {{ $labels.model }}:{{ $labels.version }} promises more, and chance does not explain
        it.
        """,
    ),
    Alarm(
        name="ModelNotReady",
        severity="ticket",
        expr=f"min {REPLICA} (understudy_model_ready) == 0",
        lasting="5m",
        summary="{{ $labels.role }} {{ $labels.model }}:{{ $labels.version }} was refused",
        description="""
        At least one replica cannot use {{ $labels.model }}:{{ $labels.version }} as {{ $labels.role }}: it
        could not be loaded, or does not answer its own test rows as it did when it was packaged.
        """,
    ),
    # By job alone: while a new version is refused, replicas of the old one still answer.
    Alarm(
        name="ModelNotReady",
        severity="page",
        expr='max by (job) (understudy_model_ready{role="production"}) == 0',
        lasting="5m",
        summary="{{ $labels.job }} has no model that may answer",
        description="Every replica of {{ $labels.job }} refused its production model and answers 503.",
    ),
    Alarm(
        name="StoreFailing",
        severity="ticket",
        expr="min by (job, writer) (avg_over_time(understudy_store_up[10m])) < 0.5",
        lasting="5m",
        summary="{{ $labels.job }} cannot write {{ $labels.writer }} to its store",
        description="""
        In the last 10m the store worked for {{ $labels.writer }} in {{ $value | humanizePercentage }} of the
        time on at least one replica. Predictions do not depend on it.
        """,
    ),
    Alarm(
        name="Down",
        severity="ticket",
        expr=f"up == 0 and on (job) {SEEN}",
        lasting="5m",
        summary="{{ $labels.instance }} of {{ $labels.job }} does not answer",
        description="Prometheus has not been able to read {{ $labels.instance }} for 5m or longer.",
    ),
    # A replica that was taken away is no target any more; where all are, no up is left that could be 0.
    Alarm(
        name="Down",
        severity="page",
        expr=f"count by (job) ({SEEN}) unless on (job) sum by (job) (up) > 0",
        lasting="2m",
        summary="No replica of {{ $labels.job }} answers",
        description="""
        Of the {{ $value }} replicas of {{ $labels.job }} that Prometheus saw within a day, it can read none.
        """,
    ),
)


def groups() -> list[Group]:
    """One."""
    return [group("service", ALARMS)]
