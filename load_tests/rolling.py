"""``python -m load_tests.rolling``: does an upgrade cost a caller an answer?

Two replicas behind a proxy are restarted one after the other while requests come on a fixed schedule, and one
server is stopped under the load of callers that keep their connections. Needs haproxy and nginx. Takes about
2 minutes, with ``--quick`` one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from load_tests import bundles
from load_tests.callers import calling
from load_tests.generator import Run, open_loop
from load_tests.pacing import Schedule
from load_tests.payloads import Native
from load_tests.program import Make, run
from load_tests.proxies import Proxy, haproxy, nginx
from load_tests.questions import batches
from load_tests.report import Finding
from load_tests.sections import Circumstances, Section
from load_tests.server import Server, free_port, running_server
from load_tests.stats import summarize
from load_tests.wire import Request, body_of

RATE, QUICK_RATE = 300.0, 150.0
"""Requests per second."""
DRAIN_SECONDS = 3.0
NOTICED_SECONDS = 1.0
"""For a proxy to see that a replica is ready, or to take in another list of them."""
MOST_SECONDS = 180.0
"""Of one roll."""


def configuration(drain_seconds: float = DRAIN_SECONDS) -> dict[str, Any]:
    """One replica's."""
    return {
        "production": bundles.CREDIT,
        "candidates": [bundles.CREDIT_CANDIDATE],
        "server": {"drain_seconds": drain_seconds},
        "explain": {"process": False},
    }


@dataclass(slots=True)
class Replica:
    """A server that is stopped and started again on the same port."""

    home: Path
    port: int = field(default_factory=free_port)
    stops: list[float] = field(default_factory=list)
    """Seconds from SIGTERM to the end of the last process."""
    _stack: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        config = configuration()
        self._stack.enter_context(running_server(config=config, models=self.home, port=self.port))

    def stop(self) -> None:
        began = time.monotonic()
        self._stack.close()
        self.stops.append(time.monotonic() - began)


def roll(proxy: Proxy, replicas: Sequence[Replica]) -> None:
    """Restarts every replica, one after the other, and goes on when the proxy uses it again."""
    for replica in replicas:
        proxy.use([port for port in proxy.replicas if port != replica.port])
        time.sleep(NOTICED_SECONDS)
        replica.stop()
        replica.start()
        proxy.use(proxy.replicas)
        time.sleep(NOTICED_SECONDS)


def rolled(
    proxied: Callable[[Sequence[int]], AbstractContextManager[Proxy]],
    home: Path,
    requests: Sequence[Request],
    rate: float,
) -> tuple[Run, Run, list[Replica]]:
    """The load before a rolling restart of two replicas, and the load during it."""
    replicas = [Replica(home), Replica(home)]
    with ExitStack() as stack:
        for replica in replicas:
            stack.callback(replica.stop)
            replica.start()
        proxy = stack.enter_context(proxied([replica.port for replica in replicas]))
        time.sleep(NOTICED_SECONDS)
        before = open_loop(proxy.address, requests, Schedule(rate, 5.0))
        return before, _load_until(proxy, requests, rate, partial(roll, proxy, replicas)), replicas


def _load_until(proxy: Proxy, requests: Sequence[Request], rate: float, act: Callable[[], None]) -> Run:
    """Load in slices for as long as ``act`` takes in a thread of its own; raises what that raised."""
    errors: list[BaseException] = []

    def acting() -> None:
        try:
            act()
        except BaseException as error:  # told to whoever waits for the end
            errors.append(error)

    thread, whole = threading.Thread(target=acting), Run()
    thread.start()
    end = time.monotonic() + MOST_SECONDS
    while thread.is_alive() and time.monotonic() < end:
        _add(whole, open_loop(proxy.address, requests, Schedule(rate, 2.0)))
    thread.join()
    if errors:
        raise errors[0]
    return whole


def _add(whole: Run, part: Run) -> None:
    whole.seconds += part.seconds
    whole.latencies.extend(part.latencies)
    whole.failures.update(part.failures)


def behind(
    name: str,
    proxied: Callable[[Sequence[int]], AbstractContextManager[Proxy]],
    circumstances: Circumstances,
) -> Section:
    """The section on one proxy."""
    bundles.build(circumstances.home)
    requests = _requests()
    rate = QUICK_RATE if circumstances.quick else RATE
    before, during, replicas = rolled(proxied, circumstances.home, requests, rate)
    section = Section(
        f"A rolling restart of two replicas behind {name}",
        ("load", "requests", "failed", "p50 ms", "p99 ms", "max ms"),
        f"{rate:g} requests/s of one row, open loop; drain of {DRAIN_SECONDS:g} s.",
    )
    for what, found in (("before", before), ("during", during)):
        _tell(section, what, found)
    failed = during.summary().failed
    slowest = max(second for replica in replicas for second in replica.stops)
    section.findings += [
        Finding(f"{name}: failed answers", failed, "", 0, at_most=True),
        Finding(f"{name}: p99 during / p99 before", _p99(during) / _p99(before), "x"),
        Finding(f"{name}: slowest stop", slowest, "s", DRAIN_SECONDS + 12, at_most=True),
    ]
    return section


def _p99(found: Run) -> float:
    return found.summary().milliseconds["p99"]


def _tell(section: Section, what: str, found: Run) -> None:
    summary = found.summary()
    times = [f"{summary.milliseconds[each]:.1f}" for each in ("p50", "p99", "max")]
    section.lines.append((what, str(summary.answered + summary.failed), str(summary.failed), *times))
    section.measured.append(
        {
            "load": what,
            "answered": summary.answered,
            "failures": dict(summary.failures),
            **summary.milliseconds,
        }
    )


def direct(circumstances: Circumstances) -> Section:
    """The section on one server that is stopped under load, without a proxy."""
    bundles.build(circumstances.home)
    body = body_of(_requests()[0].data)
    section = Section(
        "SIGTERM under load, without a proxy",
        ("stop", "requests", "not answered 200", "connections", "p99 ms", "end after s"),
        "8 callers that keep their connections until an answer ends them, try nothing again, and go "
        "elsewhere half a second before the drain ends.",
    )
    for number in range(2 if circumstances.quick else 5):
        with running_server(config=configuration(), models=circumstances.home) as server:
            _stop_once(section, number + 1, server, body)
    failed = sum(each["not_answered"] for each in section.measured)
    slowest = max(each["seconds"] for each in section.measured)
    section.findings += [
        Finding("direct: failed answers", failed, "", 0, at_most=True),
        Finding("direct: slowest stop", slowest, "s", DRAIN_SECONDS + 12, at_most=True),
    ]
    return section


def _stop_once(section: Section, number: int, server: Server, body: bytes) -> None:
    with calling(server.address, "/predict", body, callers=8) as callers:
        time.sleep(2.0)
        os.kill(server.pid, signal.SIGTERM)
        began = time.monotonic()
        time.sleep(DRAIN_SECONDS - 0.5)
    process = psutil.Process(server.pid)
    while process.status() != psutil.STATUS_ZOMBIE:  # its parent, which is this process, has not waited
        time.sleep(0.05)
    seconds, asked = time.monotonic() - began, callers.ended.total()
    failures = {outcome: count for outcome, count in callers.ended.items() if outcome != "200"}
    p99 = summarize(callers.latencies, 1.0, {}).milliseconds["p99"]
    lost = sum(failures.values())
    section.lines.append(
        (str(number), str(asked), str(lost), str(callers.connections), f"{p99:.1f}", f"{seconds:.1f}")
    )
    section.measured.append(
        {"requests": asked, "not_answered": lost, "failures": failures, "p99": p99, "seconds": seconds}
    )


def _requests() -> list[Request]:
    """Single applications of the demo."""
    import numpy as np

    from models.demo.credit import held_out

    rows = np.array([instance for instance, _ in held_out()], dtype=object)
    codec = Native("bad")
    return [codec.request(json.loads(json.dumps(batch.tolist()))) for batch in batches(rows, 1, 64)]


SECTIONS: dict[str, Make] = {
    "direct": direct,
    "haproxy": partial(behind, "HAProxy", haproxy),
    "nginx": partial(behind, "nginx", nginx),
}


def main(arguments: Sequence[str] | None = None) -> int:
    return run("rolling", __doc__ or "", SECTIONS, ("bentoml", "uvicorn"), arguments)


if __name__ == "__main__":
    sys.exit(main())
