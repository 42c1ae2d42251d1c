"""What a figure was measured on, without a name or path that identifies the machine."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = (
    "bentoml",
    "onnxruntime",
    "onnxruntime-gpu",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "orjson",
    "msgspec",
    "numpy",
)

DISTURBED_ABOVE = 0.05
"""Share of a core that others may use before a measurement is made again."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Processor, system and package versions."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    packages: dict[str, str]
    autogroups: bool
    """Whether the kernel weighs sessions against each other: then a priority counts only within a session."""

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} cores, Linux {self.kernel}, CPython {self.python}"

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def describe() -> Machine:
    memory = round(psutil.virtual_memory().total / 2**30, 1)
    cores = os.cpu_count() or 1  # not those left to this process, which has pinned itself
    return Machine(
        cpu=_cpu(),
        cores=cores,
        memory_gib=memory,
        kernel=platform.release(),
        python=platform.python_version(),
        packages=versions(PACKAGES),
        autogroups=_autogroups(),
    )


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def core_busy_seconds(core: int) -> float:
    """Seconds ``core`` has worked for anyone since the machine started, to 0.01 s; steal included."""
    times = psutil.cpu_times(percpu=True)[core]
    return float(sum(times)) - times.idle - getattr(times, "iowait", 0.0) - times.guest - times.guest_nice


class Contention:
    """How much others used the two cores of a measurement, from its start to ``share``.

    The server's processes all run on one core and this process, the generator, on the other.
    """

    def __init__(self, cores: tuple[int, int], server_cpu: Callable[[], float]) -> None:
        self._cores = cores
        self._server_cpu = server_cpu
        self._start = time.perf_counter()
        self._before = self._foreign()

    def share(self) -> float:
        """Of the core that others used more; above a few percent, do not trust the measurement."""
        elapsed = time.perf_counter() - self._start
        pairs = zip(self._foreign(), self._before, strict=True)
        return max(0.0, max(after - before for after, before in pairs) / elapsed)

    def _foreign(self) -> tuple[float, float]:
        server, own = self._cores
        if server == own:
            both = core_busy_seconds(server) - self._server_cpu() - time.process_time()
            return both, both
        return core_busy_seconds(server) - self._server_cpu(), core_busy_seconds(own) - time.process_time()


def all_cores() -> set[int]:
    """Those of the machine, also where this process keeps to some; the kernel takes what it may use."""
    return set(range(os.cpu_count() or 1))


def choose_cores() -> tuple[int, int]:
    """(server's core, load generator's core); the same one where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[1 % len(usable)]


def _autogroups() -> bool:
    switch = Path("/proc/sys/kernel/sched_autogroup_enabled")
    return switch.exists() and switch.read_text(encoding="ascii").strip() == "1"


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
