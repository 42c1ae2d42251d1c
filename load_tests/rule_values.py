"""What the rules record of two real replicas under traffic, against the measures of the same counts in numpy.

Both serve the same production and shadow the same candidate, whose bins are its own, so that every count is a
sum over replicas. A real Prometheus scrapes both every second; windows of 1, 6 and 24 hours are shortened to
20, 30 and 40 seconds. Every value that it records is compared with the measure of the rows by bin that it
recorded at that instant. How long scrapes take is Prometheus' own figure.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from deploy.prometheus import recording
from load_tests import bundles
from load_tests.prometheus import Prometheus, installed, prometheus, shortened
from load_tests.recorded import Difference, differences
from load_tests.report import Finding, record
from load_tests.sections import Circumstances, Section
from load_tests.server import ROOT, Server, get, running_server

WINDOWS = {"5m": "10s", "30m": "20s", "1h": "20s", "6h": "30s", "24h": "40s"}
DRIFT = ("1h", "6h", "24h")
SECONDS, QUICK_SECONDS = 60, 40
RATE = 100
"""Rows per second to each service."""
MOST_APART = 1e-6
REPLICAS = 2
PATIENCE = 60.0
LONG_AGO = 600.0
"""Seconds: before it all began."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """One replica's page."""

    replica: str
    series: int
    distributions: int
    """Series of rows by bin and of reference rows, of all."""
    bytes: int
    seconds: float
    """The longest that a scrape took."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of watching two replicas."""

    differences: dict[str, list[Difference]]
    """By window."""
    scrapes: list[Scrape]
    failing: int
    """Rules that could not be evaluated."""


def values(circumstances: Circumstances) -> Section:
    """The largest differences of every measure and window, and what a scrape is."""
    section = Section(
        "Rules against numpy, on two replicas under traffic",
        ("window", "measure", "values compared", "largest relative difference"),
        how=" ".join((__doc__ or "").split("\n\n")[1].split()),
    )
    if installed() is None:
        print("Prometheus is not installed: apt-get install prometheus", file=sys.stderr)
        return section
    bundles.build(circumstances.home)
    seconds = QUICK_SECONDS if circumstances.quick else SECONDS
    found = measure(circumstances.home, seconds, contained=circumstances.contained)
    section.lines = [
        (window, each.measure, f"{each.values:,}", f"{each.largest:.1e}")
        for window, measures in found.differences.items()
        for each in measures
    ]
    section.measured = [
        *(
            {"window": window, **record(each)}
            for window, measures in found.differences.items()
            for each in measures
        ),
        *map(record, found.scrapes),
    ]
    section.findings = list(_claims(found))
    return section


def measure(home: Path, seconds: float, *, contained: bool = False) -> Measured:
    """Two replicas with the bundles under ``home``, watched during so many seconds of traffic.

    Raises ``FileNotFoundError`` where Prometheus is not installed.
    """
    program = installed()
    if program is None:
        raise FileNotFoundError("prometheus")
    with ExitStack() as stack:
        servers = [stack.enter_context(_server(home, contained)) for _ in range(REPLICAS)]
        targets = [f"{host}:{port}" for host, port in (server.address for server in servers)]
        rules = shortened(recording.groups(), WINDOWS, "2s")
        watching = stack.enter_context(prometheus(program, targets, rules))
        _traffic(servers, seconds)
        _await(watching)
        return Measured(
            {window: differences(watching, window, LONG_AGO) for window in DRIFT},
            list(_scrapes(watching, servers)),
            sum(rule["health"] == "err" for group in watching.groups() for rule in group["rules"]),
        )


def _server(home: Path, contained: bool) -> AbstractContextManager[Server]:
    config = {
        "production": bundles.CREDIT,
        "candidates": [bundles.CREDIT_CANDIDATE],
        "shadow": {"idle_priority": False},  # two cores for two replicas, their traffic and Prometheus
        "explain": {"process": False},
    }
    return running_server(config=config, models=home, contained=contained)


def _traffic(servers: list[Server], seconds: float) -> None:
    """The demo's applications to all services at once; raises ``CalledProcessError``."""
    rows = ["--rows", str(int(seconds * RATE)), "--rate", str(RATE)]
    senders = [
        subprocess.Popen(
            [sys.executable, "-m", "load_tests.traffic", "--url", server.url, "--seed", str(seed), *rows],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
        for seed, server in enumerate(servers)
    ]
    for sender in senders:
        if sender.wait():
            raise subprocess.CalledProcessError(sender.returncode, sender.args)


def _await(watching: Prometheus) -> None:
    """Until something was recorded of production and the candidate; raises ``TimeoutError``."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if len(watching.instant("count by (version, role) (understudy:drift_psi:24h)")) == 2:
            return
        time.sleep(0.5)
    raise TimeoutError("Prometheus did not record the drift of both models")


def _scrapes(watching: Prometheus, servers: list[Server]) -> Iterator[Scrape]:
    for name, server in zip("ab", servers, strict=True):
        replica = f'instance="{server.address[0]}:{server.address[1]}"'
        shown = '__name__=~"understudy_(distribution_rows_total|reference_rows)"'
        yield Scrape(
            replica=name,
            series=int(_only(watching, f"scrape_samples_scraped{{{replica}}}")),
            distributions=int(_only(watching, f"count({{{shown},{replica}}})")),
            bytes=len(get(server.address, "/metrics")[1]),
            seconds=_only(watching, f"max_over_time(scrape_duration_seconds{{{replica}}}[10m])"),
        )


def _only(watching: Prometheus, query: str) -> float:
    (value,) = watching.instant(query).values()
    return value


def _claims(found: Measured) -> Iterator[Finding]:
    for window, measures in found.differences.items():
        what = f"largest relative difference, rules over {window} against numpy"
        yield Finding(what, max(each.largest for each in measures), "", MOST_APART, at_most=True)
        yield Finding(f"values compared, {window}", sum(each.values for each in measures), "", 1)
    yield Finding("rules that fail", found.failing, "", 0, at_most=True)
    for each in found.scrapes:
        yield Finding(f"series of replica {each.replica}", each.series, "")
        yield Finding("of them, rows by bin and reference rows", each.distributions, "")
        yield Finding("page", each.bytes / 1e3, "kB")
        yield Finding("longest scrape", 1e3 * each.seconds, "ms")
