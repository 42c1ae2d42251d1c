"""Limits on processes as a container's have them: CPU by weight and quota, memory, number of processes.

``with pod({"edge": Limits(1.0), "shadow": Limits(0.05, 0.5, 512 << 20)}) as containers:`` makes one
cgroup per container, siblings under one for the pod, with the numbers that a kubelet would write. Cgroups of
both versions are used, through files alone; they take root and a hierarchy that may be written. Elsewhere a
container is what rlimits and ``nice`` can do, and ``Container.how`` says so: that is another experiment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import psutil

HIERARCHIES = Path("/sys/fs/cgroup")
_FIRST = ("cpu", "cpuacct", "memory", "pids")
"""Controllers of the first version; each may have a hierarchy of its own."""
_SECOND = ("cpu", "memory", "pids")
_PERIOD = 100_000
"""Microseconds, the kubelet's."""
_EMPTY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one container, in a manifest's terms."""

    cpu_request: float = 0.0
    """Cores; becomes a weight against the containers beside it."""
    cpu_limit: float | None = None
    """Cores; becomes a quota for each tenth of a second."""
    memory: int | None = None
    """Bytes beyond which the kernel kills."""
    processes: int | None = None
    """Threads count as processes."""
    idle: bool = False
    """Whether the group as a whole has SCHED_IDLE against its siblings; no manifest can ask for that."""

    @property
    def shares(self) -> int:
        """``cpu.shares`` of the first version, as the kubelet computes it: 1024 a core, at least 2."""
        return max(2, int(1024 * self.cpu_request))

    @property
    def weight(self) -> int:
        """``cpu.weight`` of the second version for these shares, as KEP-2254 maps them: 1 to 10,000."""
        return 1 + (min(self.shares, 262_144) - 2) * 9_999 // 262_142

    @property
    def quota(self) -> int | None:
        """Microseconds of CPU per 100 ms; the kernel takes no less than 1,000."""
        return None if self.cpu_limit is None else max(1_000, int(self.cpu_limit * _PERIOD))


@dataclass(frozen=True, slots=True)
class Container:
    """A group of processes under limits; whatever it starts stays in it."""

    limits: Limits
    how: str
    """What holds the limits: "cgroups v1", "cgroups v2" or "rlimits and nice"."""
    groups: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    """Folder of each controller; empty without cgroups."""

    def wrap(self, command: Sequence[str]) -> list[str]:
        """``command`` so that it runs in here from its first instruction on, with the same process id."""
        if self.groups:
            files = sorted({str(folder / "cgroup.procs") for folder in self.groups.values()})
            enter = " && ".join(f"echo $$ > '{file}'" for file in files)
            return ["/bin/sh", "-c", f'{enter} && exec "$@"', "container", *command]
        steps = [] if self.limits.memory is None else [f"ulimit -d {self.limits.memory // 1024}"]
        nice = ["nice", "-n", "19"] if 0 < self.limits.cpu_request < 0.5 else []
        return ["/bin/sh", "-c", " && ".join([*steps, 'exec "$@"']), "container", *nice, *command]

    def members(self) -> list[int]:
        """Ids of its living processes; without cgroups always empty, ask the process tree there."""
        if not self.groups:
            return []
        with contextlib.suppress(OSError):
            return [int(word) for word in self._read("cpu", "cgroup.procs").split()]
        return []

    def cpu_seconds(self) -> float | None:
        """CPU that its processes have used, the dead ones' too; None without cgroups."""
        if self.how == "cgroups v1" and "cpuacct" in self.groups:
            return int(self._read("cpuacct", "cpuacct.usage")) / 1e9
        if self.how == "cgroups v2":
            return self._numbers("cpu", "cpu.stat")["usage_usec"] / 1e6
        return None

    def throttled(self) -> int:
        """Periods of 100 ms in which the quota stopped it; 0 without cgroups."""
        return self._numbers("cpu", "cpu.stat").get("nr_throttled", 0) if self.groups else 0

    def killed(self) -> int:
        """Processes that the kernel killed because of its memory limit; 0 without cgroups."""
        file = "memory.events" if self.how == "cgroups v2" else "memory.oom_control"
        return self._numbers("memory", file).get("oom_kill", 0) if "memory" in self.groups else 0

    def memory_peak(self) -> int | None:
        """Bytes it has held at most, page cache included; None where nobody counts."""
        file = "memory.peak" if self.how == "cgroups v2" else "memory.max_usage_in_bytes"
        with contextlib.suppress(OSError, KeyError):
            return int(self._read("memory", file))
        return None

    def signal(self, number: signal.Signals) -> None:
        """To each of its processes."""
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _read(self, controller: str, file: str) -> str:
        return (self.groups[controller] / file).read_text(encoding="ascii")

    def _numbers(self, controller: str, file: str) -> dict[str, int]:
        lines = (line.split() for line in self._read(controller, file).splitlines())
        return {name: int(value) for name, value in lines}


@contextlib.contextmanager
def pod(limits: Mapping[str, Limits]) -> Iterator[dict[str, Container]]:
    """Containers by name, siblings as in one pod; at the end what is left in them is killed, and they go."""
    name = f"load-tests-{os.getpid()}-{time.monotonic_ns()}"
    made: list[Path] = []
    try:
        try:
            containers = _second(name, limits, made) or _first(name, limits, made)
        except OSError:
            containers = None
        if containers is None:
            _remove(made)
            made.clear()
            containers = {each: Container(asked, "rlimits and nice") for each, asked in limits.items()}
        yield containers
    finally:
        _remove(made)


def _first(name: str, limits: Mapping[str, Limits], made: list[Path]) -> dict[str, Container] | None:
    """Groups of the first version below this process's own; None where there is no such version."""
    own = _own_groups()
    roots: dict[str, Path] = {}
    for controller in _FIRST:
        mount = HIERARCHIES / controller
        below = mount / own.get(controller, "").lstrip("/")
        root = below if below.is_dir() else mount  # a namespace may show a path that is not there
        if (root / "cgroup.procs").exists():
            roots[controller] = root
    if not {"cpu", "memory"} <= roots.keys():
        return None
    folders: dict[str, dict[str, Path]] = {each: {} for each in limits}
    for controller, root in roots.items():
        parent = _make(root / name, made)
        for each in limits:
            folders[each][controller] = _make(parent / each, made)
    _write(roots["cpu"] / name / "cpu.shares", sum(each.shares for each in limits.values()))
    for each, asked in limits.items():
        group = folders[each]
        _write(group["cpu"] / "cpu.shares", asked.shares)
        if asked.idle:
            _write(group["cpu"] / "cpu.idle", 1)
        if asked.quota is not None:
            _write(group["cpu"] / "cpu.cfs_period_us", _PERIOD)
            _write(group["cpu"] / "cpu.cfs_quota_us", asked.quota)
        if asked.memory is not None:
            _write(group["memory"] / "memory.limit_in_bytes", asked.memory)
        if asked.processes is not None and "pids" in group:
            _write(group["pids"] / "pids.max", asked.processes)
    return {each: Container(asked, "cgroups v1", folders[each]) for each, asked in limits.items()}


def _second(name: str, limits: Mapping[str, Limits], made: list[Path]) -> dict[str, Container] | None:
    """Groups of the second version below the root; None where its controllers are not to be had there."""
    controllers = HIERARCHIES / "cgroup.controllers"
    if not controllers.exists() or not set(_SECOND) <= set(controllers.read_text(encoding="ascii").split()):
        return None
    on = " ".join(f"+{controller}" for controller in _SECOND)
    _write(HIERARCHIES / "cgroup.subtree_control", on)
    parent = _make(HIERARCHIES / name, made)
    _write(parent / "cgroup.subtree_control", on)
    _write(parent / "cpu.weight", Limits(sum(each.cpu_request for each in limits.values())).weight)
    containers = {}
    for each, asked in limits.items():
        group = _make(parent / each, made)
        _write(group / ("cpu.idle" if asked.idle else "cpu.weight"), 1 if asked.idle else asked.weight)
        _write(group / "cpu.max", f"{'max' if asked.quota is None else asked.quota} {_PERIOD}")
        if asked.memory is not None:
            _write(group / "memory.max", asked.memory)
            _write(group / "memory.oom.group", 1)  # as kubelets do: all of the container dies at once
        if asked.processes is not None:
            _write(group / "pids.max", asked.processes)
        containers[each] = Container(asked, "cgroups v2", dict.fromkeys(_SECOND, group))
    return containers


def _own_groups() -> dict[str, str]:
    """Controller of the first version to this process's path in its hierarchy."""
    lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    entries = (line.split(":", 2) for line in lines)
    return {controller: path for _, names, path in entries for controller in names.split(",") if controller}


def _make(folder: Path, made: list[Path]) -> Path:
    folder.mkdir()
    made.append(folder)
    return folder


def _write(file: Path, value: int | str) -> None:
    file.write_text(str(value), encoding="ascii")


def _remove(made: Sequence[Path]) -> None:
    """The innermost first; a group can go only when its last process is gone."""
    for folder in reversed(made):
        end = time.monotonic() + _EMPTY_SECONDS
        while time.monotonic() < end:
            for word in (folder / "cgroup.procs").read_text(encoding="ascii").split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(word), signal.SIGKILL)
            try:
                folder.rmdir()
                break
            except OSError:  # a dying process is still in it
                time.sleep(0.02)


def tree_cpu_seconds(pid: int) -> float:
    """User and system time of the living processes from ``pid`` down; where no cgroup counts."""
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        for process in [first, *first.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
    return total
