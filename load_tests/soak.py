"""``python -m load_tests.soak --seconds 600``: is memory flat under load, and how soon is the service ready?

Starts the demo five times for its start-up time and notes what its processes hold once nothing moves any
more; then loads a service at 60 % of its maximum with a shadow and samples the memory of each of its
processes all the while.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression, median

import psutil

from load_tests import bundles, report
from load_tests.contestants import CONNECTIONS
from load_tests.generator import Run, Tick, closed_loop, open_loop
from load_tests.machine import choose_cores, describe
from load_tests.pacing import Schedule
from load_tests.payloads import Native
from load_tests.report import Finding
from load_tests.server import Server, running_server
from load_tests.stats import Summary
from load_tests.wire import Request

LOAD = 0.6
STARTS = 5
SAMPLES = 100
MIB = 2**20
GROWTH_LIMIT = 0.02
"""Share of a process's memory; 10 minutes at 6,000 req/s with 1 byte lost per request would be about 2 %."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory of one process."""

    seconds: float
    """Since the start of the load."""
    pid: int
    rss: float
    """MiB, shared pages included."""
    pss: float
    """MiB, shared pages divided among those who share them."""
    uss: float
    """MiB, pages that nobody else has."""


@dataclass(frozen=True, slots=True)
class Trend:
    """How one role's memory went. The first fifth is warm-up: buffers fill, caches settle."""

    first: float
    """MiB: median RSS of the second fifth of the samples."""
    last: float
    """MiB: median RSS of the last fifth."""
    slope: float
    """MiB per hour, least squares over all but the first fifth."""
    pss: float
    """MiB: median PSS of the last fifth."""
    processes: int
    """Process ids seen; above 1 the process was started again."""

    @property
    def growth(self) -> float:
        """Share of ``first`` by which ``last`` is larger."""
        return self.last / self.first - 1


def trend(samples: Sequence[Sample]) -> Trend:
    """Of one role's samples in order; raises ``ValueError`` for fewer than 10."""
    if len(samples) < 10:
        raise ValueError(f"a trend takes 10 samples, found {len(samples)}")
    fifth = len(samples) // 5
    settled = samples[fifth:]
    slope, _ = linear_regression([each.seconds for each in settled], [each.rss for each in settled])
    return Trend(
        first=median(each.rss for each in samples[fifth : 2 * fifth]),
        last=median(each.rss for each in samples[-fifth:]),
        slope=3600 * slope,
        pss=median(each.pss for each in samples[-fifth:]),
        processes=len({each.pid for each in samples}),
    )


class Sampler:
    """Each call notes the memory of every process of a server."""

    def __init__(self, server: Server) -> None:
        self.samples: dict[str, list[Sample]] = defaultdict(list)
        self._server = server
        self._start = time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic() - self._start
        for role, pids in self._server.tree().items():
            for number, pid in enumerate(pids):
                with contextlib.suppress(psutil.NoSuchProcess):
                    memory = psutil.Process(pid).memory_full_info()
                    name = role if len(pids) == 1 else f"{role} {number + 1}"
                    found = Sample(now, pid, memory.rss / MIB, memory.pss / MIB, memory.uss / MIB)
                    self.samples[name].append(found)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m load_tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--home", type=Path, default=bundles.HOME, help="where the bundles are kept")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    options = parser.parse_args(arguments)
    options.home = options.home.resolve()
    bundles.build(options.home)
    starts, at_rest = _starts(options.home)
    server_core, own_core = choose_cores()
    os.sched_setaffinity(0, {own_core})
    config = {"production": bundles.PRODUCTION, "candidates": [bundles.SIBLING]}
    with running_server(config=config, models=options.home, cores={server_core}) as server:
        server.await_idle()
        rate, run, sampler = _soak(server, options.seconds)
    trends = {role: trend(samples) for role, samples in sampler.samples.items()}
    return _conclude(options, starts, at_rest, rate, run.summary(), trends, sampler)


def _starts(home: Path) -> tuple[list[float], dict[str, Sample]]:
    """Seconds from ``serve`` to a 200 of ``/readyz``, all cores allowed, the demo's bundles.

    Also the memory of each process of the last start, once its explanations have been prepared.
    """
    times: list[float] = []
    at_rest: dict[str, Sample] = {}
    for _ in range(STARTS):
        config = {"production": bundles.CREDIT, "candidates": [bundles.CREDIT_CANDIDATE]}
        with running_server(config=config, models=home) as server:
            times.append(server.ready_after)
            print(f"ready after {server.ready_after:.1f} s", file=sys.stderr)
            if len(times) == STARTS:
                server.await_idle()
                sampler = Sampler(server)
                sampler()
                at_rest = {role: found[0] for role, found in sampler.samples.items()}
    return times, at_rest


def _soak(server: Server, seconds: float) -> tuple[float, Run, Sampler]:
    requests = _requests()
    loop = closed_loop(server.address, requests, connections=CONNECTIONS, seconds=3)
    rate = LOAD * loop.summary().per_second
    print(f"{rate:,.0f} req/s for {seconds:g} s", file=sys.stderr)
    sampler = Sampler(server)
    tick = Tick(seconds / SAMPLES, sampler)
    return rate, open_loop(server.address, requests, Schedule(rate, seconds), tick=tick), sampler


def _requests() -> list[Request]:
    data = bundles.load_data()
    codec = Native(data.classes[1])
    return [codec.request([row]) for row in data.held_out.tolist()]


def _conclude(
    options: argparse.Namespace,
    starts: Sequence[float],
    at_rest: Mapping[str, Sample],
    rate: float,
    summary: Summary,
    trends: Mapping[str, Trend],
    sampler: Sampler,
) -> int:
    findings = [
        Finding("ready after, slowest of 5 starts", max(starts), "s", 8, at_most=True),
        Finding("ready after, median", median(starts), "s"),
        Finding("failed answers", summary.failed, "", 0, at_most=True),
        *(
            Finding(f"memory growth of {role}", each.growth, "share", GROWTH_LIMIT, at_most=True)
            for role, each in trends.items()
        ),
        *(Finding(f"memory of {role} (RSS)", each.last, "MiB") for role, each in trends.items()),
        Finding("memory of the demo at rest (PSS)", sum(each.pss for each in at_rest.values()), "MiB"),
    ]
    resting = report.table(
        ("process of the demo at rest", "RSS MiB", "PSS MiB", "USS MiB"),
        [(role, f"{e.rss:.1f}", f"{e.pss:.1f}", f"{e.uss:.1f}") for role, e in at_rest.items()],
    )
    header = ("process", "first MiB", "last MiB", "PSS MiB", "slope MiB/h", "processes")
    rows = [
        (role, f"{e.first:.1f}", f"{e.last:.1f}", f"{e.pss:.1f}", f"{e.slope:.1f}", str(e.processes))
        for role, e in trends.items()
    ]
    figures, verdicts = report.table(header, rows), report.findings_table(findings)
    machine = describe()
    document = {
        "command": f"python -m load_tests.soak --seconds {options.seconds:g}",
        "machine": machine.as_dict(),
        "plan": {"rate": round(rate), "seconds": options.seconds},
        "answered": summary.answered,
        "failures": dict(summary.failures),
        "start_seconds": [round(each, 2) for each in starts],
        "at_rest": {role: report.record(each) for role, each in at_rest.items()},
        "findings": report.as_records(findings),
        "samples": {role: [report.record(each) for each in found] for role, found in sampler.samples.items()},
    }
    text = (
        f"# Memory and start-up\n\n`{document['command']}` on {machine}.\n\nOpen loop at {rate:,.0f} req/s "
        f"({LOAD:.0%} of the maximum), edge and shadow on one core, {summary.answered:,} answers; the first "
        f"fifth of the time is warm-up, growth compares the second fifth with the last.\n\n{verdicts}\n\n"
        f"{figures}\n\n{resting}\n"
    )
    path = report.write("soak", document, text, options.results)
    print(f"\n{verdicts}\n\n{figures}\n\n{resting}\n")
    print(f"written: {path.name} and its .json twin in {path.parent.name}/")
    return 0 if all(finding.verdict != "not met" for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
