"""Every recording rule."""

from __future__ import annotations

from deploy.prometheus import canary, drift, edge, labels, shadow
from deploy.prometheus.promql import Group


def groups() -> list[Group]:
    """In the order of the file."""
    return [*drift.groups(), *shadow.groups(), *edge.groups(), *canary.groups(), *labels.groups()]
