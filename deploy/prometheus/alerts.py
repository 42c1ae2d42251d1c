"""Every alert rule."""

from __future__ import annotations

from deploy.prometheus.alarms import drift, service, shadow
from deploy.prometheus.alarms.alarm import Alarm
from deploy.prometheus.promql import Group

ALARMS: tuple[Alarm, ...] = (*drift.ALARMS, *shadow.ALARMS, *service.ALARMS)


def groups() -> list[Group]:
    """In the order of the file."""
    return [*drift.groups(), *shadow.groups(), *service.groups()]
