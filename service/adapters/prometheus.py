"""Prometheus' page, right across worker processes and restarts of the shadow.

Families of the contract are made where they are counted: see the modules ``*_metrics`` beside this one. Hot
paths count into plain lists and dictionaries (about 0.3 µs a request), and sums are moved to Prometheus'
shared files. Each process writes files named after its role, not its pid, so a process that is born again
goes on counting where its predecessor stopped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Histogram, generate_latest, values
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.adapters.ledger import Ledger
from service.domain.report import Samples

SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of every latency histogram, in seconds."""


def write_as(role: str, directory: Path | None = None) -> None:
    """Names this process's shared files; before any family is made.

    Args:
        role: what this process is; without an underscore.
        directory: where they are; None for where BentoML says.
    """
    if directory is not None:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        values.ValueClass = values.MultiProcessValue(lambda: role)  # type: ignore[no-untyped-call]  # not annotated


def new_registry() -> CollectorRegistry:
    """Where one process keeps its families."""
    return CollectorRegistry()


def observe(histogram: Histogram, bounds: Sequence[float], samples: NDArray[np.floating]) -> None:
    """Adds many samples at once; a loop over ``Histogram.observe`` would cost 2 µs for each.

    It writes the client's own per-bucket values, for which there is no public batch call; a test
    holds the result against ``Histogram.observe``.
    """
    counts = np.bincount(np.searchsorted(bounds, samples), minlength=len(bounds) + 1)
    for index in np.flatnonzero(counts):
        histogram._buckets[index].inc(int(counts[index]))  # noqa: SLF001 - see the docstring
    histogram._sum.inc(float(samples.sum(dtype=np.float64)))  # noqa: SLF001 - see the docstring


class LedgerCollector(Collector):
    """What became of every row beside the edge, straight from the ledger, its only home."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterable[Metric]:
        """One sample per candidate and outcome, and per outcome of a record; zeros included."""
        family = CounterMetricFamily(
            "understudy_shadow_rows_total",
            "Rows that were to be mirrored, by what became of them.",
            labels=["candidate", "outcome"],
        )
        for index, candidate in enumerate(self._ledger.candidates):
            for outcome, rows in self._ledger.totals(index).items():
                family.add_metric([candidate, outcome], rows)
        yield family
        breakers = GaugeMetricFamily(
            "understudy_breaker_open",
            "1 while the shadow leaves a candidate alone because it failed too often or too slowly, else 0.",
            labels=["candidate"],
        )
        for index, candidate in enumerate(self._ledger.candidates):
            breakers.add_metric([candidate], float(self._ledger.breaker_open(index)))
        yield breakers
        if self._ledger.records is not None:
            records = CounterMetricFamily(
                "understudy_records_total",
                "Rows whose answer was to be recorded, by what became of them.",
                labels=["outcome"],
            )
            for outcome, rows in self._ledger.totals(self._ledger.records).items():
                records.add_metric([outcome], rows)
            yield records
        if self._ledger.distributions is not None:
            outcomes = CounterMetricFamily(
                "understudy_distribution_outcomes_total",
                "Rows whose values were to be counted by bin, by what became of them.",
                labels=["outcome"],
            )
            for outcome, rows in self._ledger.totals(self._ledger.distributions).items():
                outcomes.add_metric([outcome], rows)
            yield outcomes


class FilesCollector(Collector):
    """What all processes of one server counted, from the files that they leave in some directories.

    The client's own collector knows one directory; two of it would show a family of both twice.
    """

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = tuple(directories)

    def collect(self) -> Iterable[Metric]:
        """Every family once, its samples summed, or as the family's mode says."""
        files = [str(path) for directory in self._directories for path in sorted(directory.glob("*.db"))]
        merge = MultiProcessCollector.merge
        found: Iterable[Metric] = merge(files, accumulate=True)  # type: ignore[no-untyped-call]  # not annotated
        return found


class Page:
    """The merged view over all processes of this server.

    Args:
        own: what this process counts, where it is alone.
        ledger: None where nothing is mirrored.
        beside: a file of further families in Prometheus' text format, which may not be there yet.
        directories: where processes leave their counts; none where this one is alone.
    """

    def __init__(
        self,
        own: CollectorRegistry,
        ledger: Ledger | None,
        beside: Path | None = None,
        directories: Sequence[Path] = (),
    ) -> None:
        merged = own
        if directories:
            merged = CollectorRegistry()
            merged.register(FilesCollector(directories))
        if ledger is not None:
            merged.register(LedgerCollector(ledger))
        self._registry = merged
        self._beside = beside

    def text(self) -> bytes:
        """The page in Prometheus' text format."""
        page = generate_latest(self._registry)
        if self._beside is None:
            return page
        try:
            return page + self._beside.read_bytes()
        except OSError:  # not there yet, or another user's: the other families are shown all the same
            return page

    def samples(self) -> Samples:
        """Every sample: (name, labels in alphabetical order of their names) to value."""
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self._registry.collect()
            for sample in family.samples
        }
