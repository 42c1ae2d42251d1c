"""Traffic that is not what the models were trained on, and drift that nobody could see.

What is told twice is meant to be: a candidate that takes production's features drifts with it, and each of
the two has reference data of its own. Nobody is woken for a candidate, whose answers nobody gets.
"""

from __future__ import annotations

from deploy.prometheus.alarms.alarm import Alarm, Severity, group
from deploy.prometheus.budgets import MORE, TIMES
from deploy.prometheus.drift import STRANGE
from deploy.prometheus.promql import Group
from service.domain.drift.alerting import EXCESS, LEAST_ROWS, PAGE_EXCESS, SLOW_EXCESS, SURE

WHAT = "{{ $labels.variable }} of {{ $labels.role }} {{ $labels.model }}:{{ $labels.version }}"
BINNED = "{{ $labels.variable }} of {{ $labels.model }}:{{ $labels.version }}"
BINS = "model, version, variable, bin"
ANSWERED = (
    'sum by (job, instance, model, version) (increase(understudy_predictions_total{arm="production"}[1h]))'
)


def _moved(window: str, excess: float, chosen: str = "") -> str:
    return f"""
        understudy:drift_psi_excess:{window}{chosen} > {excess:g}
        and understudy:drift_psi_z:{window} > {SURE:g}"""


def _drift(severity: Severity, excess: float, chosen: str) -> Alarm:
    return Alarm(
        name=f"Drift{severity.title()}",
        severity=severity,
        # Six hours confirm the one: a burst of odd rows within the hour is no change of the traffic.
        expr=f"""{_moved("1h", excess, chosen)}
        and understudy:drift_rows:1h >= {LEAST_ROWS}
        and{_moved("6h", excess)}
        """,
        lasting="15m",
        summary=f"{WHAT} has drifted",
        description=f"""
        In the last hour PSI of {WHAT} against the reference data was {{{{ $value | printf "%.3g" }}}} above
        what chance does, and the last six hours say so as well. A {severity} is written from {excess:g} on,
        where at least {LEAST_ROWS} rows came and z is above {SURE:g}.
        """,
    )


def _known(window: str, bins: str) -> str:
    """The share of the reference rows that is in these bins."""
    rows = f"understudy:drift_reference_rows:{window}"
    return f'sum without (bin) ({rows}{{bin=~"{bins}"}}) / sum without (bin) ({rows})'


def _unusual(name: str, bins: str, meaning: str) -> Alarm:
    share, known = f"understudy:drift_{name}_share", _known("1h", bins)
    return Alarm(
        name="UnseenValues",
        severity="ticket",
        labels={"kind": name},
        # The live share's variance is the larger one where it is above the other and below a half.
        expr=f"""
        {share}:1h - {known} > {MORE}
        and {share}:1h > {TIMES} * {known}
        and ({share}:1h - {known}) / sqrt({share}:1h * (1 - {share}:1h) * understudy:drift_unit:1h) > {SURE:g}
        and understudy:drift_rows:1h >= {LEAST_ROWS}
        and {share}:6h - {_known("6h", bins)} > {MORE}
        """,
        lasting="15m",
        summary=f"{WHAT} is {name} far more often than in the reference data",
        description=f"""
        In the last hour {WHAT} was {meaning} in {{{{ $value | humanizePercentage }}}} of the rows more than
        in the reference data, and the last six hours say so as well.
        """,
    )


ALARMS = (
    _drift("ticket", EXCESS, ""),
    _drift("page", PAGE_EXCESS, '{role="production"}'),
    # A day has the rows that an hour of little traffic has not, and sees a small change for certain.
    Alarm(
        name="DriftSlow",
        severity="ticket",
        expr=f"""{_moved("24h", SLOW_EXCESS)}
        and understudy:drift_rows:24h >= {LEAST_ROWS}
        """,
        lasting="1h",
        summary=f"{WHAT} has drifted a little, or where few rows come",
        description=f"""
        In the last day PSI of {WHAT} against the reference data was {{{{ $value | printf "%.3g" }}}} above
        what chance does, of at least {LEAST_ROWS} rows and with z above {SURE:g}. This is written from
        {SLOW_EXCESS:g} on.
        """,
    ),
    # Of each replica, since those that count would hide one that does not. Only where drift is to be watched:
    # the family of outcomes is there from the first moment, or never. Fewer rows in an hour tell no ticket.
    Alarm(
        name="DriftBlind",
        severity="ticket",
        expr=f"""
        (
            {ANSWERED} >= {LEAST_ROWS}
            unless on (job, instance)
              increase(understudy_distribution_outcomes_total{{outcome="counted"}}[1h]) > 0
          or
            {ANSWERED} >= {LEAST_ROWS}
            unless on (model, version) understudy:drift_psi:1h{{role="production"}}
        )
        and on (job, instance) understudy_distribution_outcomes_total
        """,
        lasting="15m",
        summary="Nobody sees whether the traffic of {{ $labels.model }}:{{ $labels.version }} drifts",
        description="""
        {{ $labels.instance }} answered {{ $value | humanize }} rows in the last hour, but counted none of
        them by bin, or no PSI is recorded of {{ $labels.model }}:{{ $labels.version }}.
        """,
    ),
    # Of the series as they are now: in an hour's increase the bins of a former build are seen for an hour.
    Alarm(
        name="BinsDiffer",
        severity="ticket",
        expr=f"""
        count by (model, version, variable) (
            understudy:reference_rows != on ({BINS}) min by ({BINS}) (understudy_reference_rows)
          or
            count by ({BINS}) (understudy_reference_rows)
            < on (model, version, variable) group_left ()
            max by (model, version, variable) (count by ({BINS}) (understudy_reference_rows))
          or
            group by ({BINS}) (understudy_distribution_rows_total)
            unless on ({BINS}) understudy:reference_rows
          or
            understudy:reference_rows
            and on (model, version, variable) understudy_distribution_rows_total
            unless on ({BINS}) understudy_distribution_rows_total
        )
        """,
        lasting="15m",
        summary=f"Replicas cut {BINNED} differently",
        description=f"""
        {{{{ $value }}}} bins of {BINNED} are not the same on all replicas, or have live rows and no reference
        rows, or the other way round. What is recorded as drift of this variable is not to be trusted.
        """,
    ),
    Alarm(
        name="TwoSampleDiffers",
        severity="ticket",
        expr=f"""
        understudy:drift_two_sample_accuracy:1h
        and understudy:drift_two_sample_z:1h > {SURE:g}
        and understudy:drift_two_sample_rows:1h >= {LEAST_ROWS}
        """,
        lasting="30m",
        summary="Rows of {{ $labels.model }}:{{ $labels.version }} can be told from its reference data",
        description="""
        In the last hour a classifier told live rows of {{ $labels.model }}:{{ $labels.version }} from
        reference rows in {{ $value | humanizePercentage }} of the cases; guessing is right in 50%. It
        sees what variables do together, so each of them alone may look as ever.
        """,
    ),
    _unusual("missing", "missing", "missing"),
    _unusual("unseen", STRANGE, "out of range or an unseen word"),
)


def groups() -> list[Group]:
    """One."""
    return [group("drift", ALARMS)]
