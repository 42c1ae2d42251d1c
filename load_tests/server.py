"""Starts a server as its own processes, on a free port, with homes of its own, and stops it by its ids.

``with running_server(config={...}, cores={0}) as server:`` is the service itself; ``running`` is any other
command. Both wait until the server answers, keep its output in a log file, and leave nothing running.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from load_tests.machine import all_cores

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
_ROLES = {"Predictor": "edge", "Shadow": "shadow's keeper", "Explainer": "explainer"}
_LOOKS, _BUSY_LOOKS = 20, 2
"""Of so many looks at an idle server, over a second, at most so many find somebody at work."""
_STOP_SECONDS = 15.0
_CPU_GROUPS = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))
"""Where a CPU cgroup can be made: cgroups of the first version, or of the second."""
_FOREIGN = ("UNDERSTUDY_", "BENTOML_", "PROMETHEUS_MULTIPROC_DIR")
"""Variables of whoever starts this that must not reach the server."""


class StartError(RuntimeError):
    """The server ended or was not ready in time; carries the end of its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready for requests."""

    port: int
    pid: int
    log: Path
    home: Path
    """Removed when the server has been stopped; for the service it holds both homes and the settings file."""
    ready_after: float
    """Seconds from the start of the command until the server was ready."""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port

    def tree(self) -> dict[str, list[int]]:
        """Process ids by role: "supervisor", "edge", "shadow", "shadow's keeper", "explainer" and "other"."""
        roles: dict[str, list[int]] = {"supervisor": [self.pid]}
        for process in _descendants(self.pid):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                roles.setdefault(_role(process.cmdline()), []).append(process.pid)
        return roles

    def cpu_seconds(self) -> float:
        """User and system time of all its living processes so far."""
        total = 0.0
        for process in [psutil.Process(self.pid), *_descendants(self.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def await_idle(self, timeout: float = 60.0) -> None:
        """Returns once its processes have wanted next to no CPU for a second, or after ``timeout`` seconds.

        A server that is ready may still be preparing explanations, at a priority that gets it no CPU as long
        as anybody else wants it; so it is not what its processes use that tells.
        """
        end, looks = time.monotonic() + timeout, deque([True] * _LOOKS, maxlen=_LOOKS)
        while sum(looks) > _BUSY_LOOKS and time.monotonic() < end:
            time.sleep(1 / _LOOKS)
            processes = [self.pid, *(process.pid for process in _descendants(self.pid))]
            looks.append(any(_wants_cpu(pid) for pid in processes))

    def suspend(self) -> None:
        """From now on none of its processes uses CPU."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for process in [psutil.Process(self.pid), *_descendants(self.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


@contextlib.contextmanager
def running(
    command: Callable[[int], Sequence[str]],
    *,
    ready: str,
    cores: Iterable[int] | None = None,
    env: Mapping[str, str] | None = None,
    home: Path | None = None,
    bentoml_home: bool = False,
    timeout: float = 60.0,
    contained: bool = False,
    wrap: Callable[[Sequence[str]], Sequence[str]] = list,
    port: int | None = None,
) -> Iterator[Server]:
    """Runs ``command(port)`` from the repository root until the block ends.

    Args:
        ready: path that answers 200 when the server is ready.
        cores: CPU cores of the server and all its children; None for all, whatever this process has.
        env: variables over the present environment.
        home: an existing folder for its files, removed at the end; a new one by default.
        bentoml_home: whether BENTOML_HOME is ``home`` (a BentoML server needs one of its own).
        timeout: seconds to become ready.
        contained: whether all its processes share a CPU cgroup, as those of a container do; needs root.
        wrap: makes of the command one that runs elsewhere with the same process id, see ``Container.wrap``.
        port: of its own, for example that of an earlier server; a free one by default.

    Raises:
        StartError: see there.
    """
    home = home or Path(tempfile.mkdtemp(prefix="load-tests-"))
    log, port = home / "server.log", port or free_port()
    variables = {**inherited_variables(), **(env or {})}
    if bentoml_home:
        variables["BENTOML_HOME"] = str(home)
    start = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(wrap(command(port))),
            cwd=ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    group = None
    try:
        used = all_cores() if cores is None else set(cores)
        os.sched_setaffinity(process.pid, used)  # before it starts children, which inherit it
        if contained:
            group = _cpu_group(process.pid)
        _await_ready(process, port, ready, timeout, log)
        yield Server(port, process.pid, log, home, time.monotonic() - start)
    finally:
        _stop(process)
        if group is not None:
            group.rmdir()
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def running_server(
    *,
    config: Mapping[str, Any] | None = None,
    models: Path | None = None,
    cores: Iterable[int] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    contained: bool = False,
    wrap: Callable[[Sequence[str]], Sequence[str]] = list,
    port: int | None = None,
) -> Iterator[Server]:
    """The service with ``config`` as its settings file and a copy of the bundles in ``models``.

    ``models`` is a BENTOML_HOME that holds the wanted bundles; it is copied because a server wipes its own
    home's metrics at each start. Raises ``StartError``.
    """
    home = Path(tempfile.mkdtemp(prefix="load-tests-"))
    if models is not None:
        shutil.copytree(models / "models", home / "bentoml" / "models")
    (home / "bentoml").mkdir(exist_ok=True)
    settings = home / "settings.yaml"
    settings.write_text(yaml.safe_dump(dict(config or {}), sort_keys=False), encoding="utf-8")
    variables = {**service_variables(home), **(env or {})}
    with running(
        service_command,
        ready="/readyz",
        cores=cores,
        env=variables,
        home=home,
        timeout=timeout,
        contained=contained,
        wrap=wrap,
        port=port,
    ) as server:
        yield server


def inherited_variables() -> dict[str, str]:
    """This process's environment without what would reach into a server."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    return {**inherited, "BENTOML_DO_NOT_TRACK": "true", "PYTHONUNBUFFERED": "1"}


def service_variables(home: Path) -> dict[str, str]:
    """Where a service in ``home``, or a shadow beside it, finds its bundles, its settings and its files."""
    return {
        "BENTOML_HOME": str(home / "bentoml"),
        "UNDERSTUDY_HOME": str(home / "understudy"),
        "UNDERSTUDY_CONFIG": str(home / "settings.yaml"),
    }


def service_command(port: int) -> list[str]:
    """How the service is started."""
    serve = ["-m", "bentoml", "serve", "service.app:Predictor"]
    patience = ["--timeout-graceful-shutdown", "10"]
    return [sys.executable, *serve, "--host", HOST, "--port", str(port), *patience]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def get(address: tuple[str, int], path: str, timeout: float = 10.0) -> tuple[int, bytes]:
    """Status and body of a GET; raises OSError when nobody answers."""
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()


def _await_ready(process: subprocess.Popen[bytes], port: int, path: str, timeout: float, log: Path) -> None:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if process.poll() is not None:
            raise StartError(f"the server ended with status {process.returncode}:\n{_end_of(log)}")
        with contextlib.suppress(OSError):
            if get((HOST, port), path, timeout=2.0)[0] == 200:
                return
        time.sleep(0.02)
    raise StartError(f"the server was not ready after {timeout:g} s:\n{_end_of(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the first process, which stops its children; SIGKILL to whatever is left after that.

    BentoML gives every worker a session of its own, so the process group is not enough: children are
    remembered by id while their parent still lives.
    """
    children = _descendants(process.pid)
    process.terminate()
    for pid in (process.pid, *(child.pid for child in children)):  # a suspended process cannot end
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    _, alive = psutil.wait_procs(children, timeout=2)
    for child in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    if process.poll() is None:
        process.kill()
        process.wait()
    psutil.wait_procs(alive, timeout=5)


def _cpu_group(pid: int) -> Path:
    """A new CPU cgroup with one process in it; its children will be there too."""
    root = next((path for path in _CPU_GROUPS if (path / "cgroup.procs").exists()), None)
    if root is None:
        raise StartError("no CPU cgroup can be made here")
    group = root / f"load-tests-{pid}"
    group.mkdir()
    (group / "cgroup.procs").write_text(str(pid), encoding="ascii")
    return group


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _wants_cpu(pid: int) -> bool:
    """Whether a thread runs, waits for a CPU or for a disk."""
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # the thread has ended
            if path.read_text(encoding="utf-8", errors="replace").rpartition(") ")[2][0] in "RD":
                return True
    return False


def _role(arguments: Sequence[str]) -> str:
    if "--service-name" in arguments:
        name = arguments[arguments.index("--service-name") + 1]
        return _ROLES.get(name, "other")
    return "shadow" if "service.shadow" in arguments else "other"


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
