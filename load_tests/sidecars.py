"""The service as a pod runs it: edge and shadow in a container each, and what may befall the latter."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil

from load_tests.containers import Container, Limits, pod, tree_cpu_seconds
from load_tests.server import ROOT, Server, inherited_variables, running_server, service_variables

MIB = 1 << 20
EDGE = Limits(cpu_request=1.0)
SHADOW = Limits(cpu_request=0.001, cpu_limit=1.0, memory=1024 * MIB, processes=256)
"""Both as in the manifests."""
CRAMPED = 128 * MIB
"""A memory limit in which no shadow can start: its keeper ends it again and again."""
_KEEPER = [sys.executable, "-m", "service.shadow", "--keep"]
_BUSY = "while True: pass"
_GREEDY = '"$0" "$@" & sleep 2; "$0" -c "taken = bytes([1]) * {size}" 2>/dev/null; kill -9 0'
"""The keeper, and a process whose death ends all of the container, as it does with cgroups v2."""
_KUBELET = 'while :; do setsid -w "$@"; sleep 1; done'
"""Starts a container again; outside of it. The real one waits for 10 s, and doubles that."""


@dataclass(slots=True)
class Sidecar:
    """An edge, and beside it a container in which the shadow's keeper runs, if anything."""

    edge: Server
    containers: Mapping[str, Container]
    core: int | None
    """Of the shadow's container; None leaves it free."""
    keeper: subprocess.Popen[bytes] | None = None
    others: list[subprocess.Popen[bytes]] = field(default_factory=list)
    ailing: bool = False
    """Whether the container is one that is killed again and again."""
    crashes: Crashes | None = None
    """What kills the shadow again and again, once that has begun."""

    @property
    def shadow(self) -> Container:
        return self.containers["shadow"]

    def start_keeper(self) -> None:
        """As the container's first process."""
        self.keeper = self.launch(self.shadow.wrap(_KEEPER))

    def add(self, command: list[str]) -> None:
        """Another process into the shadow's container."""
        self.others.append(self.launch(self.shadow.wrap(command)))

    def heal(self) -> None:
        """Ends every fault; where the keeper was, there is one."""
        self.stop_others()
        if self.ailing or self.crashes:
            self.kill_container()
            self.start_keeper()
            self.ailing, self.crashes = False, None

    def stop_others(self) -> None:
        """What was added, gone; the keeper and its shadow stay."""
        for process in self.others:
            kill_tree(process)
        self.others.clear()

    def processes(self) -> list[int]:
        """Of the shadow's container, parents first."""
        found: dict[int, None] = {}
        for process in [*([self.keeper] if self.keeper else []), *self.others]:
            with contextlib.suppress(psutil.NoSuchProcess):
                first = psutil.Process(process.pid)
                found |= dict.fromkeys([first.pid, *(each.pid for each in first.children(recursive=True))])
        return list(found | dict.fromkeys(self.shadow.members()))

    def freeze(self) -> None:
        """Nothing in the shadow's container runs until ``thaw``."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def suspend(self) -> None:
        """Neither container uses CPU until ``resume``."""
        self.edge.suspend()
        self.freeze()

    def resume(self) -> None:
        self.thaw()
        self.edge.resume()

    def cpu_seconds(self) -> float:
        """Of both containers; without cgroups only of what lives."""
        groups = [container.cpu_seconds() for container in self.containers.values()]
        known = [seconds for seconds in groups if seconds is not None]
        if len(known) == len(groups):
            return sum(known)
        started = [self.edge.pid, *(each.pid for each in [self.keeper, *self.others] if each is not None)]
        return sum(tree_cpu_seconds(pid) for pid in started)

    def kill_container(self) -> None:
        """SIGKILL to everything in the shadow's container and to what starts it."""
        for process in [*([self.keeper] if self.keeper else []), *self.others]:
            kill_tree(process)
        self.keeper = None
        self.others.clear()

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def launch(self, command: list[str]) -> subprocess.Popen[bytes]:
        """A process beside the edge, in its environment and on the shadow's core."""
        with (self.edge.home / "shadow.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**inherited_variables(), **service_variables(self.edge.home)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if self.core is not None:
            os.sched_setaffinity(process.pid, {self.core})
        return process


@contextlib.contextmanager
def running_sidecar(
    *, config: Mapping[str, Any], cores: tuple[int, int], limits: Limits = SHADOW, **server: Any
) -> Iterator[Sidecar]:
    """The service with ``config``, its shadow not supervised and not yet started.

    Args:
        cores: of the edge and of the shadow.
        limits: of the shadow's container.
        server: more for ``running_server``.

    Raises:
        StartError: the edge was not ready in time.
    """
    shadow = {**config.get("shadow", {}), "supervised": False}
    with (
        pod({"edge": EDGE, "shadow": limits}) as containers,
        running_server(
            config={**config, "shadow": shadow}, cores={cores[0]}, wrap=containers["edge"].wrap, **server
        ) as edge,
    ):
        sidecar = Sidecar(edge, containers, cores[1])
        try:
            yield sidecar
        finally:
            sidecar.kill_container()


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to ``process`` and all below it, which is then gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        first = psutil.Process(process.pid)
        first.suspend()  # so that it starts no more
        for each in first.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.kill()
    process.wait()


Fault = Callable[[Sidecar], Callable[[], None] | None]
"""Begins a fault; what it returns is called every quarter of a second while requests come."""


def nothing(sidecar: Sidecar) -> None:
    """The shadow is left in peace."""


def busy(sidecar: Sidecar) -> None:
    """A process beside the shadow that never rests and has an ordinary priority."""
    sidecar.add([sys.executable, "-c", _BUSY])


def frozen(sidecar: Sidecar) -> None:
    """Nobody takes rows from the socket."""
    sidecar.freeze()


def crashing(sidecar: Sidecar) -> Callable[[], None]:
    """The shadow dies by SIGKILL again and again; its keeper lives."""
    if sidecar.crashes is None:
        sidecar.crashes = Crashes(sidecar)
    sidecar.crashes.begin()
    return sidecar.crashes


class Crashes:
    """Kills a shadow in the run after its start, the next one in the fourth: while it starts, and at work.

    By runs and not by seconds, because a pod is suspended between two. A keeper whose pauses have grown so
    long that there is no shadow makes way for a new one, so that something starts in every run.
    """

    AGES = (2, 4)

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar
        self._ages = itertools.cycle(self.AGES)
        self._age = 1  # the first, which is at work, dies at once
        self._runs = 0
        self._shadow: int | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is left to kill in this run."""
        return self._shadow is None

    def begin(self) -> None:
        """Of a run."""
        found = self._find()
        if found is None:
            self._sidecar.kill_container()
            self._sidecar.start_keeper()
        self._runs = self._runs + 1 if found is not None and found == self._shadow else 1
        self._shadow = found

    def __call__(self) -> None:
        """Kills what is due, in a run."""
        if self._shadow is not None and self._runs >= self._age:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._shadow, signal.SIGKILL)
            self._shadow, self._age = None, next(self._ages)

    def _find(self) -> int | None:
        keeper = self._sidecar.keeper
        if keeper is None:
            return None
        with contextlib.suppress(psutil.NoSuchProcess):
            return next((child.pid for child in psutil.Process(keeper.pid).children()), None)
        return None


def greedy(sidecar: Sidecar) -> None:
    """A process takes twice the container's memory; the kernel ends the container, which comes again."""
    if not sidecar.ailing:
        sidecar.kill_container()
        size = 2 * (sidecar.shadow.limits.memory or 0)
        inside = sidecar.shadow.wrap(["/bin/sh", "-c", _GREEDY.format(size=size), *_KEEPER])
        sidecar.keeper = sidecar.launch(["/bin/sh", "-c", _KUBELET, "kubelet", *inside])
        sidecar.ailing = True
