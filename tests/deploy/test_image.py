"""What the Dockerfile promises; `python -m load_tests.image` builds it and runs it, which takes root."""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from load_tests.image import told

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
LENT = re.compile(r"--mount=type=secret,id=(\w+),target=(\S+)")
INSTALLERS = re.compile(r"\b(pip|uv|apt-get|gcc|curl|wget)\b")


@dataclass(frozen=True)
class Stage:
    """One build stage: what it starts from and its instructions."""

    base: str
    steps: tuple[tuple[str, str], ...]

    def every(self, instruction: str) -> list[str]:
        return [text for name, text in self.steps if name == instruction]

    def only(self, instruction: str) -> str:
        (text,) = self.every(instruction)
        return text

    @property
    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for text in self.every("ENV") for pair in text.split())


def read_stages(text: str) -> dict[str, Stage]:
    """Stages by name, in order."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    stages: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    steps: list[tuple[str, str]] = []  # what stands before the first stage belongs to none
    for line in re.sub(r"\\\n\s*", "", lines).splitlines():
        name, _, rest = line.partition(" ")
        if name == "FROM":
            base, _, stage = rest.split()
            steps = []
            stages[stage] = (base, steps)
        elif name:
            steps.append((name, rest))
    return {name: Stage(base, tuple(found)) for name, (base, found) in stages.items()}


STAGES = read_stages(DOCKERFILE)
RUNTIME = STAGES["runtime"]


def deployment() -> dict[str, Any]:
    path = ROOT / "deploy/kubernetes/base/deployment.yaml"
    found: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))["spec"]["template"]["spec"]
    return found


def test_the_linter_of_dockerfiles_has_nothing_to_say() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_rule_that_the_linter_is_told_to_pass_over_is_one_of_two() -> None:
    passed_over = re.findall(r"# hadolint ignore=(\S+)\n(.*)", DOCKERFILE)
    assert [rule for rule, _ in passed_over] == ["DL3006", "DL3008"]
    assert "${VARIANT}" in passed_over[0][1]
    assert "apt" in passed_over[1][1]


def test_what_is_run_is_the_service_unless_another_target_is_named() -> None:
    assert list(STAGES)[-1] == "understudy"
    assert STAGES["understudy"] == Stage("runtime", ())
    assert STAGES["demo"].base == "runtime"


def test_every_package_is_checked_against_its_hash() -> None:
    installs = [
        command
        for stage in STAGES.values()
        for text in stage.every("RUN")
        for command in text.split("&&")
        if " install" in command and "apt-get" not in command and " install -d " not in command
    ]
    assert len(installs) == 4
    for command in installs:
        assert "--require-hashes -r requirements-" in command, command


def test_nothing_is_installed_by_what_stays_in_the_image() -> None:
    for text in RUNTIME.every("RUN"):
        assert not INSTALLERS.search(text), text
    copied = [text for text in RUNTIME.every("COPY") if "--from" in text]
    assert copied == ["--from=installed /opt/understudy /opt/understudy"]
    created = next(text for text in STAGES["packages"].every("RUN") if "/opt/understudy" in text)
    assert "venv --without-pip /opt/understudy" in created


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_each_variant_has_its_stage(variant: str) -> None:
    assert STAGES["installed"].base == "packages-${VARIANT}"
    assert STAGES[f"packages-{variant}"].base == "packages"


def test_only_the_variant_without_a_gpu_loses_cuda() -> None:
    removed = STAGES["packages-cpu"].only("RUN").split()[-1]
    assert "rm " not in STAGES["packages-gpu"].only("RUN")
    package = importlib.util.find_spec("onnxruntime")
    assert package is not None
    assert package.origin is not None
    inside = removed.split("site-packages/onnxruntime/")[1]
    assert (Path(package.origin).parent / inside).is_file()


def test_what_a_machine_knows_of_mirrors_is_lent_and_stays_out() -> None:
    """A secret's mount leaves nothing in its layer; so no credential goes by an argument or a variable."""
    for stage in STAGES.values():
        for text in stage.every("RUN"):
            if INSTALLERS.search(text):
                assert (
                    {"pip", "uv", "certificates", "apt"} >= {name for name, _ in LENT.findall(text)} != set()
                )
        for text in [*stage.every("ARG"), *stage.every("ENV")]:
            assert not re.search(r"TOKEN|PASSWORD|SECRET|INDEX|PROXY", text), text


def test_nobody_in_it_is_root() -> None:
    """By number, since Kubernetes cannot tell by a name."""
    steps = [name for name, _ in RUNTIME.steps]
    assert RUNTIME.only("USER") == "10001:10001"
    assert "RUN" not in steps[steps.index("USER") :]
    pod = deployment()["securityContext"]
    assert (pod["runAsUser"], pod["runAsGroup"]) == (10001, 10001)


def test_a_dead_process_is_started_again_and_nobody_is_told_of_us() -> None:
    assert "BENTOML_CONTAINERIZED" not in RUNTIME.environment
    assert RUNTIME.environment["BENTOML_DO_NOT_TRACK"] == "true"
    assert RUNTIME.environment["ORT_DISABLE_TELEMETRY"] == "1"


def test_it_serves_as_it_does_on_a_laptop() -> None:
    command = json.loads(RUNTIME.only("CMD"))
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert command[:3] == ["bentoml", "serve", "service.app:Predictor"]
    laptop = re.search(r"bentoml serve (\S+) --port \S+ (--timeout-graceful-shutdown \d+)", makefile)
    assert laptop is not None
    assert " ".join(command).endswith(laptop[2])


def test_its_port_is_the_one_that_is_probed_and_opened() -> None:
    port = int(RUNTIME.only("EXPOSE"))
    command = json.loads(RUNTIME.only("CMD"))
    assert command[command.index("--port") + 1] == str(port)
    assert f"http://127.0.0.1:{port}/readyz" in RUNTIME.only("HEALTHCHECK")
    assert deployment()["containers"][0]["ports"][0]["containerPort"] == port


def test_it_says_what_it_is() -> None:
    labels = " ".join(RUNTIME.every("LABEL"))
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_a_new_revision_shares_all_that_is_large() -> None:
    steps = [name for name, _ in RUNTIME.steps]
    assert steps.index("ARG") > max(place for place, name in enumerate(steps) if name in ("COPY", "RUN"))


def test_what_is_copied_is_in_the_context_and_little_else_is() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source.rstrip("/")
        for stage in STAGES.values()
        for text in stage.every("COPY")
        if "--from" not in text
        for source in text.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)
    assert "*" in lines
    assert any(fnmatch.fnmatch("service/paths/__pycache__", line) for line in lines)


@pytest.mark.parametrize("script", sorted((ROOT / "deploy/image").glob("*.sh")), ids=lambda path: path.name)
def test_a_script_can_be_read_by_its_shell_and_stops_at_its_first_failure(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert "\nset -euo pipefail\n" in script.read_text("utf-8")
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        ("/bin/sh -c #(nop) COPY dir:4b81d9 in service ", "COPY dir in service"),
        ("|2 REVISION=unknown VERSION=0.1.0 /bin/sh -c python -m compileall", "python -m compileall"),
        ("/bin/sh", "base"),
    ],
)
def test_a_layer_is_told_by_what_made_it(line: str, plain: str) -> None:
    assert told(line) == plain
