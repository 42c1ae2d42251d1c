"""The edge's way to a replay: a process of lowest priority, one at a time on this machine."""

from __future__ import annotations

import asyncio
import sys

from models import store
from models.bundle import Bundle
from service.adapters.background import Finished, run_beside
from service.errors import BundleError
from service.http.instances import InstanceReader
from service.http.problem import Problem, does_not_fit
from service.http.replay import Asked, ReplayPage
from service.http.traffic import TrafficReader
from service.settings import Environment, Settings

DEADLINE_SECONDS = 60.0
LOCK = "replay.lock"
"""Under UNDERSTUDY_HOME."""
REPORTED = (0, 3, 4)
"""Exit codes with which ``python -m service.replay`` leaves a report."""
REFUSED = 2
"""What it was asked or given is wrong, as one line says."""


def replay_page(
    settings: Settings, environment: Environment, production: Bundle, seconds: float = DEADLINE_SECONDS
) -> ReplayPage:
    """What answers ``POST /shadow/replay``.

    Args:
        production: the bundle whose recorded answers are replayed.
        seconds: that a replay may take.
    """
    spec, expected = production.spec, production.manifest.expected
    instances = InstanceReader(spec.schema, settings.limits.max_rows, _uncounted, expected)

    async def replay(asked: Asked) -> bytes:
        return await asyncio.to_thread(_replay, environment, spec.tag, seconds, asked)

    return ReplayPage(TrafficReader(spec, instances), replay)


def _replay(environment: Environment, production: str, seconds: float, asked: Asked) -> bytes:
    try:
        store.locate(asked.candidate)
    except BundleError as error:
        raise Problem(404, str(error)) from error
    source = ["--kept"] if asked.traffic is None else ["--file", "{data}", "--name", "instances"]
    command = [sys.executable, "-m", "service.replay", "--background", "--format", "jsonl", "--out", "-"]
    command += ["--production", production, "--candidate", asked.candidate, *source]
    found = run_beside(command, asked.traffic, environment.home / LOCK, seconds)
    if found.status in REPORTED:
        return found.output
    said = _last_line(found)
    if found.status == REFUSED:
        raise does_not_fit([{"loc": ["candidate"], "msg": said}])
    raise RuntimeError(f"a replay of {asked.candidate} ended with status {found.status}: {said}")


def _last_line(found: Finished) -> str:
    lines = found.said.decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else "it said nothing"


def _uncounted(feature: str, kind: str, count: int = 1) -> None:
    """What does not fit here was no caller's."""
