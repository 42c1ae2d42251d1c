"""``python -m load_tests.image``: builds the image without a registry, and runs it as Kubernetes would.

As user 10001 on a read-only root without capabilities, as process 1: the way ``docker run`` starts it, and as
the two containers of a pod, edge and shadow. Needs root, debootstrap and buildah; see ``deploy/image``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from load_tests import report
from load_tests.machine import describe
from load_tests.report import Finding
from load_tests.server import HOST, free_port, get

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "deploy" / "image"
PORT = "3000"
STARTED_WITHIN = 120.0
"""Seconds; far more than a quiet machine needs."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the build."""

    what: str
    seconds: int


@dataclass(frozen=True)
class Image:
    """A built image in buildah's storage under ``folder``."""

    name: str
    folder: Path

    def buildah(self, *arguments: str) -> str:
        place = ["--root", str(self.folder / "storage"), "--runroot", str(self.folder / "run")]
        driver = ["--storage-driver", os.environ.get("DRIVER", "overlay")]
        command = ["buildah", *place, *driver, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    @cached_property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.buildah("inspect", "--type", "image", self.name))
        return found

    @property
    def configuration(self) -> dict[str, Any]:
        """What a runtime reads: ``Env``, ``Cmd``, ``User``, ``Healthcheck``."""
        found: dict[str, Any] = self.document["Docker"]["config"]
        return found

    def layers(self) -> list[tuple[str, int]]:
        """What each was made by, and its bytes before compression; from the base on."""
        made = [each for each in self.document["Docker"]["history"] if not each.get("empty_layer")]
        sizes = [layer["size"] for layer in json.loads(self.document["Manifest"])["layers"]]
        return [(told(each.get("created_by", "")), size) for each, size in zip(made, sizes, strict=True)]

    @contextlib.contextmanager
    def mounted(self) -> Iterator[Path]:
        container = self.buildah("from", "--pull-never", self.name)
        try:
            yield Path(self.buildah("mount", container))
        finally:
            self.buildah("rm", container)


def told(created_by: str) -> str:
    """A line of the history, without its build arguments and the shell's name."""
    plain = re.sub(r"^\|\d+ (?:\w+=\S* ?)*|/bin/sh( -c)?|#\(nop\)", " ", created_by)
    return re.sub(r"\b(file|dir|multi):[0-9a-f]+", r"\1", " ".join(plain.split())) or "base"


@dataclass
class Container:
    """One process tree in the image; ``process`` ends with the status of process 1."""

    process: subprocess.Popen[bytes]
    log: Path
    seconds: float = field(default=0.0)
    """From the start until it was ready."""

    @property
    def first(self) -> psutil.Process:
        """Process 1, as it is seen from here."""
        return psutil.Process(self.process.pid).children()[0]

    def stop(self) -> tuple[int, float]:
        """SIGTERM to process 1; its exit status and the seconds that it took."""
        start = time.monotonic()
        self.first.terminate()
        return self.process.wait(60), time.monotonic() - start

    def end(self) -> None:
        """Whatever is left; the kernel kills a namespace with its process 1."""
        with contextlib.suppress(psutil.NoSuchProcess, IndexError):
            self.first.kill()
        self.process.wait(10)


@dataclass(frozen=True)
class Host:
    """Runs containers of one image."""

    image: Image
    root: Path
    home: Path
    """What the containers of a pod share."""

    def command(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> list[str]:
        variables = [*self.image.configuration["Env"], *(f"{key}={value}" for key, value in env.items())]
        places = [str(self.root), str(self.home), str(self.home.with_name(f"tmp-{name}"))]
        return [str(TOOLS / "run.sh"), *places, *variables, *command]

    def once(self, *command: str) -> int:
        """The exit status of a command in a container of its own."""
        whole = self.command("once", command, {})
        return subprocess.run(whole, check=False, capture_output=True, timeout=60).returncode

    @contextlib.contextmanager
    def running(self, name: str, command: Sequence[str], **env: str) -> Iterator[Container]:
        log = self.home.with_name(f"{name}.log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command(name, command, env), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        container = Container(process, log)
        try:
            yield container
        finally:
            container.end()

    @contextlib.contextmanager
    def serving(self, port: int, **env: str) -> Iterator[Container]:
        """The image's own command, on ``port`` of this machine alone."""
        command = [str(port) if word == PORT else word for word in self.image.configuration["Cmd"]]
        command[command.index("--host") + 1] = HOST
        start = time.monotonic()
        with self.running("edge", command, **env) as container:
            await_ready(container, port, start)
            container.seconds = time.monotonic() - start
            yield container

    def healthy(self, port: int) -> bool:
        """What the image's HEALTHCHECK says."""
        kind, *test = self.image.configuration["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.once(*(word.replace(f":{PORT}/", f":{port}/") for word in test)) == 0


def await_ready(container: Container, port: int, start: float) -> None:
    """Raises RuntimeError with the end of the log."""
    while time.monotonic() < start + STARTED_WITHIN and container.process.poll() is None:
        with contextlib.suppress(OSError):
            if get((HOST, port), "/readyz", timeout=2.0)[0] == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"not ready:\n{container.log.read_text(errors='replace')[-3000:]}")


def settled(port: int) -> dict[str, int]:
    """The report's rows by outcome, once none is under way or a minute has passed."""
    end = time.monotonic() + 60
    while True:
        document = json.loads(get((HOST, port), "/shadow/report")[1])
        rows: dict[str, int] = document["candidates"][0]["rows"]
        if rows["in_flight"] == 0 or time.monotonic() > end:
            return rows
        time.sleep(0.2)


def traffic(port: int, rows: int) -> None:
    command = [
        sys.executable,
        "-m",
        "load_tests.traffic",
        "--url",
        f"http://{HOST}:{port}",
        "--rows",
        str(rows),
    ]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def build(folder: Path, variant: str) -> list[Step]:
    """The demo's image of ``variant``; what took how long."""
    command = [str(TOOLS / "build.sh"), variant, "demo"]
    done = subprocess.run(
        command, env={**os.environ, "IMAGES": str(folder)}, stdout=subprocess.PIPE, text=True, check=True
    )
    found = re.findall(r"^(Base|Image): .*?^  (\d+) s$", done.stdout, re.MULTILINE | re.DOTALL)
    return [Step(what, int(seconds)) for what, seconds in found]


def smoke(image: Image, rows: int) -> list[Finding]:
    """Both ways of running it; what must hold is a target."""
    found: list[Finding] = []

    def tell(what: str, value: float, unit: str = "", target: float | None = None, **more: bool) -> None:
        found.append(Finding(what, value, unit, target, **more))

    with image.mounted() as root, tempfile.TemporaryDirectory(prefix="understudy-image-") as place:
        alone, port = Host(image, root, Path(place, "alone")), free_port()
        tell("bundles are listed: status", alone.once("python", "-m", "models", "list"), "", 0, at_most=True)
        tell(
            "writes to its own code that succeed", alone.once("touch", "/opt/app/x") == 0, "", 0, at_most=True
        )
        tell("HEALTHCHECK passes without a server", alone.healthy(port), "", 0, at_most=True)
        with alone.serving(port) as edge:
            tell("one container: ready after", edge.seconds, "s")
            tell("one container: HEALTHCHECK passes", alone.healthy(port), "", 1)
            _use(port, rows, "one container", tell)
            _stop(edge, "one container", tell)
        pod, port = Host(image, root, Path(place, "pod")), free_port()
        apart = {"UNDERSTUDY_SHADOW_SUPERVISED": "false"}
        keep = ["python", "-m", "service.shadow", "--keep"]
        with pod.running("shadow", keep, **apart) as shadow, pod.serving(port, **apart) as edge:
            tell("pod: ready after", edge.seconds, "s")
            _use(port, rows, "pod", tell)
            _stop(edge, "pod, edge", tell)
            _stop(shadow, "pod, shadow", tell)
    return found


def _use(port: int, rows: int, what: str, tell: Any) -> None:
    """Rows that come before the shadow is there are counted, not compared; so they go ahead."""
    end = time.monotonic() + 60
    while (before := settled(port))["compared"] == 0 and time.monotonic() < end:
        traffic(port, 20)
    traffic(port, rows)
    after = settled(port)
    offered = after["offered"] - before["offered"]
    tell(f"{what}: rows compared", (after["compared"] - before["compared"]) / offered, "share", 0.9)


def _stop(container: Container, what: str, tell: Any) -> None:
    status, seconds = container.stop()
    tell(f"{what}: status after SIGTERM", status, "", 0, at_most=True)
    tell(f"{what}: ends after", seconds, "s")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 where something does not hold."""
    parser = argparse.ArgumentParser(prog="python -m load_tests.image", description=__doc__)
    parser.add_argument(
        "--images", type=Path, default=Path("/var/tmp/understudy-image"), help="buildah's storage"
    )
    parser.add_argument("--variant", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    options = parser.parse_args(arguments)
    steps = build(options.images, options.variant)
    image = Image(f"localhost/understudy:{options.variant}-demo", options.images)
    findings, layers = smoke(image, options.rows), image.layers()
    path = _write(options, steps, layers, findings)
    print(path.read_text(encoding="utf-8"))
    return int(any(finding.verdict == "not met" for finding in findings))


def _write(
    options: argparse.Namespace,
    steps: Sequence[Step],
    layers: Sequence[tuple[str, int]],
    findings: Sequence[Finding],
) -> Path:
    machine = describe()
    sized = [(what[:100], f"{size / 1e6:.1f}") for what, size in layers if size >= 1e5]
    sized.append(("all", f"{sum(size for _, size in layers) / 1e6:.1f}"))
    readable = "\n\n".join(
        [
            f"# The image, {options.variant}",
            f"`python -m load_tests.image --variant {options.variant}` on {machine}.",
            "Built without a registry: a base of Debian's packages, then the Dockerfile's `demo` by buildah.",
            report.table(("built", "seconds"), [(step.what, step.seconds) for step in steps]),
            report.table(("layer", "MB, uncompressed"), sized),
            "Run as user 10001 on a read-only root without capabilities, as process 1.",
            report.findings_table(findings),
        ]
    )
    document = {
        "machine": machine.as_dict(),
        "variant": options.variant,
        "build": [report.record(step) for step in steps],
        "layers": [{"made_by": what, "bytes": size} for what, size in layers],
        "findings": report.as_records(findings),
    }
    return report.write("image", document, readable, options.results)


if __name__ == "__main__":
    sys.exit(main())
