"""``python -m deploy.metrics``: writes METRICS.md, the table of all families, from the families themselves.

They are made as the processes of the service make them, so that what is documented is what is exported; a
test holds the file to this program, another one the page of a running service to the file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from service.adapters import distribution_page
from service.adapters.coverage_metrics import CoverageMetrics
from service.adapters.edge_metrics import EdgeMetrics
from service.adapters.label_metrics import FeedbackMetrics, LabelMetrics
from service.adapters.ledger import Ledger
from service.adapters.prometheus import LedgerCollector
from service.adapters.ready_metrics import ReadyMetrics
from service.adapters.shadow_metrics import EvidenceMetrics, ShadowMetrics, VerdictMetrics
from service.adapters.store_metrics import StoreMetrics

FILE = Path(__file__).with_name("METRICS.md")
EDGE, SHADOW, BOTH = "edge", "shadow", "edge, shadow"
TITLES = ("family", "type", "labels", "meaning", "process")
HEAD = """\
# Metrics

Every family that the service exports at `/metrics`, as written by `python -m deploy.metrics`. Most are there
from the first time that something is counted. Units are base units; counters end in `_total`. Counters and
histograms add up over replicas. No label has a value of a caller's.

The last column says which process knows: the edge answers callers, the shadow compares and counts beside it.
"""


class Family(NamedTuple):
    """What is told of one family."""

    name: str
    """As on the page: with ``_total``, without a histogram's endings."""
    type: str
    labels: tuple[str, ...]
    help: str
    process: str


class Made(CollectorRegistry):
    """Remembers what is registered with it."""

    def __init__(self) -> None:
        super().__init__()
        self.collectors: list[Collector] = []

    def register(self, collector: Collector) -> None:
        super().register(collector)
        self.collectors.append(collector)


def families() -> list[Family]:
    """All of them, by name."""
    return merged((*_edge(), *_shadow(), *_ledger(), *_distributions()))


def merged(told: Iterable[Family]) -> list[Family]:
    """Each family once, by name; raises ``ValueError`` where two processes tell it in two ways."""
    found: dict[str, Family] = {}
    for family in told:
        known = found.get(family.name)
        if known is not None and known != family._replace(process=known.process):
            raise ValueError(f"{family.name} is made in two ways: {known} and {family}")
        found[family.name] = family if known is None else family._replace(process=BOTH)
    return [found[name] for name in sorted(found)]


def text() -> str:
    """The file."""
    rows = [
        (f"`{each.name}`", each.type, ", ".join(each.labels), each.help.replace("|", "&#124;"), each.process)
        for each in families()
    ]
    return "\n".join(
        (HEAD, *(f"| {' | '.join(row)} |" for row in (TITLES, ["---"] * len(TITLES), *rows)), "")
    )


def _edge() -> Iterable[Family]:
    registry = Made()
    EdgeMetrics(registry, "model", "version", "0")
    FeedbackMetrics(registry)
    ReadyMetrics(registry)
    return _told(registry, EDGE)


def _shadow() -> Iterable[Family]:
    registry = Made()
    ShadowMetrics(registry, (1.0,))
    for kind in (VerdictMetrics, EvidenceMetrics, CoverageMetrics, LabelMetrics, StoreMetrics, ReadyMetrics):
        kind(registry)
    return _told(registry, SHADOW)


def _told(registry: Made, process: str) -> Iterable[Family]:
    for collector in registry.collectors:
        if not isinstance(collector, MetricWrapperBase):
            raise TypeError(f"{collector!r} does not tell its labels")
        (family,) = collector.describe()
        labels = tuple(collector._labelnames)  # noqa: SLF001 - the client tells them nowhere else
        yield Family(_shown(family.name, family.type), family.type, labels, family.documentation, process)


def _ledger() -> Iterable[Family]:
    """What both processes count into one file; every series of it is there from the start."""
    with tempfile.TemporaryDirectory() as directory:
        ledger = Ledger(Path(directory, "ledger"), ("name:version",), records=True, distributions=True)
        for family in LedgerCollector(ledger).collect():
            labels = tuple(family.samples[0].labels)
            process = BOTH if family.type == "counter" else SHADOW  # breakers are the shadow's own
            yield Family(_shown(family.name, family.type), family.type, labels, family.documentation, process)


def _distributions() -> Iterable[Family]:
    for family in distribution_page.FAMILIES:
        yield Family(*family, SHADOW)


def _shown(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" else name


def main() -> None:
    FILE.write_text(text(), encoding="utf-8")
    print(f"written: {FILE.name}")


if __name__ == "__main__":
    main()
