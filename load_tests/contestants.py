"""Who takes part in a measurement, and one measurement of one of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from load_tests.generator import Run, ask, closed_loop, open_loop
from load_tests.machine import Contention
from load_tests.pacing import Schedule
from load_tests.payloads import Codec, Probabilities, check_answer
from load_tests.server import ROOT, Server, free_port, running
from load_tests.stats import Summary
from load_tests.wire import Request

CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Question:
    """One request and the answers that are right: the production model's, or the canary's where one is on."""

    request: Request
    accepted: tuple[Probabilities, ...]


@dataclass(frozen=True, slots=True)
class Contestant:
    """A running server and how to talk to it. It is suspended except while it is measured."""

    name: str
    server: Server
    codec: Codec


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of one contestant."""

    contestant: str
    summary: Summary
    cpu_microseconds: float
    """CPU of all the server's processes per right answer."""
    foreign_share: float
    """Share of the server's or the generator's core that others used meanwhile, whichever is larger."""

    def __str__(self) -> str:
        rate, cpu = self.summary.per_second, self.cpu_microseconds
        return f"{rate:,.0f} req/s, {cpu:.0f} µs CPU each, others {self.foreign_share:.0%}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "contestant": self.contestant,
            "per_second": round(self.summary.per_second, 1),
            "milliseconds": {name: round(value, 3) for name, value in self.summary.milliseconds.items()},
            "answered": self.summary.answered,
            "failures": dict(self.summary.failures),
            "cpu_microseconds": round(self.cpu_microseconds, 1),
            "foreign_share": round(self.foreign_share, 3),
        }


def measure(
    contestant: Contestant,
    questions: Sequence[Question],
    seconds: float,
    warm_up: float,
    cores: tuple[int, int],
    *,
    connections: int = CONNECTIONS,
    rate: float | None = None,
) -> Measurement:
    """One run, its answers checked before and after.

    Args:
        contestant: a server, suspended; it is so again afterwards.
        questions: asked in turn.
        seconds: of the run.
        warm_up: seconds of the same before it, uncounted.
        cores: of the server, and of this process.
        connections: that a closed loop keeps busy.
        rate: requests per second of an open loop instead.

    Raises:
        WrongAnswerError: an answer is not the model's.
    """
    server, requests = contestant.server, [question.request for question in questions]
    server.resume()
    try:
        for question in questions:
            check_answer(contestant.codec, ask(server.address, question.request), question.accepted)
        closed_loop(server.address, requests, connections=connections, seconds=warm_up)
        cpu, contention = server.cpu_seconds(), Contention(cores, server.cpu_seconds)
        if rate is None:
            run = closed_loop(server.address, requests, connections=connections, seconds=seconds)
        else:
            run = open_loop(server.address, requests, Schedule(rate, seconds))
        cpu, foreign = server.cpu_seconds() - cpu, contention.share()
    finally:
        server.suspend()
    check_last(contestant.codec, run, questions)
    answered = max(len(run.latencies), 1)
    return Measurement(contestant.name, run.summary(), 1e6 * cpu / answered, foreign)


def check_last(codec: Codec, run: Run, questions: Sequence[Question]) -> None:
    """Holds the last answer to each question of a run against what is right."""
    for index, answer in run.last.items():
        check_answer(codec, answer, questions[index].accepted)


def bare(bundle: Path, core: int) -> AbstractContextManager[Server]:
    """The bare app: uvicorn + Starlette + orjson + ONNX Runtime."""
    return running(
        lambda port: [sys.executable, "-m", "load_tests.peers.bare", str(port)],
        ready="/readyz",
        cores={core},
        env={"PEER_BUNDLE": str(bundle)},
    )


def bentoml_default(bundle: Path, core: int) -> AbstractContextManager[Server]:
    """A plain BentoML service."""
    serve = [sys.executable, "-m", "bentoml", "serve", "load_tests.peers.bentoml_default:Plain"]
    return running(
        lambda port: [*serve, "--host", "127.0.0.1", "--port", str(port)],
        ready="/readyz",
        cores={core},
        env={"PEER_BUNDLE": str(bundle)},
        bentoml_home=True,
    )


def mlserver(bundle: Path, core: int, python: Path) -> AbstractContextManager[Server]:
    """MLServer with one process and no worker pool, its debug mode and access log off."""
    return running(
        lambda port: [
            "env",
            f"MLSERVER_HTTP_PORT={port}",
            str(python.with_name("mlserver")),
            "start",
            str(ROOT / "load_tests" / "peers" / "mlserver"),
        ],
        ready="/v2/models/bench/ready",
        cores={core},
        env={
            "PEER_BUNDLE": str(bundle),
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_GRPC_PORT": str(free_port()),
            "MLSERVER_METRICS_PORT": str(free_port()),
            "MLSERVER_PARALLEL_WORKERS": "0",
            "MLSERVER_DEBUG": "false",
        },
    )


def raw_rows_per_second(bundle: Path, rows: int, seconds: float, core: int) -> float:
    """ONNX Runtime's own loop in a process pinned to the server's core."""
    command = ["-m", "load_tests.peers.raw_ort", str(bundle), str(rows), str(seconds), str(core)]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True, text=True)
    found: Mapping[str, float] = json.loads(done.stdout)
    return found["rows_per_second"]


def constant(core: int) -> AbstractContextManager[Server]:
    """A server that costs next to nothing: what the generator itself can drive."""
    return running(
        lambda port: [sys.executable, "-m", "load_tests.peers.constant", str(port)], ready="/", cores={core}
    )


def versions_in(python: Path, packages: Sequence[str]) -> dict[str, str]:
    """Versions of packages in another environment, each under ``NAME (peers)``."""
    script = "import importlib.metadata as m, sys; print(*(m.version(name) for name in sys.argv[1:]))"
    done = subprocess.run([python, "-c", script, *packages], check=True, capture_output=True, text=True)
    return {f"{name} (peers)": number for name, number in zip(packages, done.stdout.split(), strict=True)}
