"""Candidates: how far they differ, whether that can be seen, and what the verdict on them is."""

from __future__ import annotations

from deploy.prometheus.alarms.alarm import Alarm, Severity, group
from deploy.prometheus.budgets import CREEPING, FAST, FLIPPED, LEAST_COMPARED, LEAST_MIRRORED, VERDICT, Burn
from deploy.prometheus.promql import Group

RATIO = "understudy:shadow_flip_ratio"
MIRRORED = 'sum by (candidate) (increase(understudy_shadow_rows_total{outcome!="sampled_out"}[30m]))'
ROLLBACK = 'max by (job, candidate) (understudy_verdict{state="rollback"}) == 1'
ANSWERS = "max by (job, candidate) (understudy_canary_share_ratio) > 0"
BORN = "understudy_evidence_lost_total unless understudy_evidence_lost_total offset 1h"


def _disagreement(pace: str, burn: Burn) -> Alarm:
    return Alarm(
        name=f"Disagreement{pace}",
        severity="ticket",
        # Small slices have large shares by chance.
        expr=f"""
        {RATIO}:{burn.long} > {burn.rate:g} * {FLIPPED}
        and {RATIO}:{burn.short} > {burn.rate:g} * {FLIPPED}
        and
        sum by (candidate, slice) (increase(understudy_shadow_compared_rows_total[{burn.long}]))
        >= {LEAST_COMPARED}
        """,
        lasting=burn.lasting,
        summary="{{ $labels.candidate }} labels many rows differently (slice {{ $labels.slice }})",
        description=f"""
        {{{{ $labels.candidate }}}} labels {{{{ $value | humanizePercentage }}}} of the rows of slice {{{{
        $labels.slice }}}} differently than production, over {burn.long}; the last {burn.short} are no better.
        That is more than {burn.rate:g} times the budget of {FLIPPED:.0%}.
        """,
    )


def _rollback(severity: Severity, expr: str, consequence: str) -> Alarm:
    return Alarm(
        name="VerdictRollback",
        severity=severity,
        expr=expr,
        lasting="5m",
        summary="{{ $labels.candidate }} is to be rolled back",
        description=f"By the evidence {{{{ $labels.candidate }}}} is worse than is allowed. {consequence}",
    )


ALARMS = (
    _disagreement("Fast", FAST),
    _disagreement("Slow", CREEPING),
    # What sampling leaves out was not meant to be compared; the verdict sees it in the same way.
    Alarm(
        name="ShadowBlind",
        severity="ticket",
        expr=f"""
        sum by (candidate) (increase(understudy_shadow_rows_total{{outcome="compared"}}[30m]))
        / {MIRRORED}
        < {VERDICT.least_coverage}
        and {MIRRORED} >= {LEAST_MIRRORED}
        """,
        lasting="15m",
        summary="Most of the traffic is not compared with {{ $labels.candidate }}",
        description=f"""
        Of the rows that {{{{ $labels.candidate }}}} was to see in the last 30m, {{{{ $value |
        humanizePercentage }}}} were compared. Below {VERDICT.least_coverage:.0%} the verdict holds, since
        those that are left may be the easy ones.
        """,
    ),
    # A breaker closes for a moment whenever it tries again, so its share of the time counts.
    Alarm(
        name="BreakerOpen",
        severity="ticket",
        expr="max by (job, candidate) (avg_over_time(understudy_breaker_open[15m])) > 0.5",
        lasting="5m",
        summary="{{ $labels.candidate }} fails so often that the shadow leaves it alone",
        description="""
        In the last 15m the breaker of {{ $labels.candidate }} was open {{ $value | humanizePercentage }} of
        the time on at least one replica.
        """,
    ),
    _rollback("ticket", ROLLBACK, "It answers no caller as long as it is no canary."),
    _rollback("page", f"{ROLLBACK}\nand {ANSWERS}", "It is answering callers now, as the canary."),
    # All replicas must agree now, since one that was just born may not have read the store yet; and nobody
    # said so in the hour before, so that a verdict on the brink is told once an hour at most.
    Alarm(
        name="VerdictChanged",
        severity="ticket",
        expr="""
        min by (job, candidate, state) (understudy_verdict) == 1
        and max by (job, candidate, state) (max_over_time(understudy_verdict[1h] offset 15m)) == 0
        """,
        lasting="5m",
        summary="The verdict on {{ $labels.candidate }} is now {{ $labels.state }}",
        description="""
        For the last quarter of an hour at most, the verdict on {{ $labels.candidate }} has been {{
        $labels.state }}, which it was not in the hour before.
        """,
    ),
    # A series is born with its first loss, which is no increase. It counts where the replica was watched an
    # hour ago already: of one that was not, nobody knows when that was.
    Alarm(
        name="EvidenceLost",
        severity="ticket",
        expr=f"""
        sum by (candidate, kind) (
            increase(understudy_evidence_lost_total[1h]) > 0
          or
            ({BORN}) and on (job, instance) understudy_build_info offset 1h
        )
        """,
        lasting="5m",
        summary="Evidence on {{ $labels.candidate }} was lost",
        description="""
        In the last hour about {{ $value | humanize }} {{ $labels.kind }} of {{ $labels.candidate }} were
        given up, since the store did not take them in time. Sums are never lost; rows and cases to look at
        are.
        """,
    ),
)


def groups() -> list[Group]:
    """One."""
    return [group("shadow", ALARMS)]
