"""The repository keeps its promises: locked requirements, the README's commands, nothing of one machine."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETS = ("bootstrap", "serving", "training", "gpu", "dev", "peers")
TARGETS = ("serve", "test", "check", "bench", "traffic")
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"

# Whose requirements each folder may import from.
INSTALLED = {
    "service": ("serving",),
    "models": ("serving", "training"),
    "deploy": ("serving", "training", "dev"),
    "load_tests": ("serving", "training", "dev", "peers"),
    "load_tests/peers/mlserver": ("peers",),
    "tests": ("serving", "training", "dev"),
}

PACKAGE_INDEX = re.compile(
    r"--(?:extra-)?index-url|--find-[l]inks|^\s*\[\[?(?:tool\.uv\.)?(?:index|source)\b"
    r"|(?:pypi|pythonhosted|anaconda|npmjs|yarnpkg)\.(?:org|com)|artifact[o]ry|/simple/?(?=[\s\"']|$)",
    re.MULTILINE,
)
MACHINE_PATH = re.compile(r"(?<![\w.$)}/*-])/(?:home|Users|root|work|workspace|mnt)/[\w.-]+")


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def normalised(requirement: str) -> str:
    """The distribution's name as locks write it: no extras, no version, lower case, dashes."""
    match = re.match(r"[\w.-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def direct(name: str) -> set[str]:
    """The distributions that pyproject.toml names for one set."""
    entries = (
        project()["project"]["dependencies"] if name == "serving" else project()["dependency-groups"][name]
    )
    return {normalised(entry) for entry in entries}


def locked(name: str) -> dict[str, str]:
    """Every entry of one lock: distribution to its whole text, hashes included."""
    text = (ROOT / f"requirements-{name}.lock").read_text()
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    return {normalised(entry): entry for entry in entries}


def version(entry: str) -> str:
    match = re.match(r"\S+==(\S+)", entry)
    assert match, f"not pinned: {entry.splitlines()[0]}"
    return match.group(1)


@cache
def texts() -> dict[str, str]:
    """Every text file of the repository, or to be added to it, by its path."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    found = {}
    for name in filter(None, names):
        path = ROOT / name
        content = path.read_bytes() if path.is_file() else b"\0"
        if b"\0" not in content:
            found[name] = content.decode()
    return found


def matches(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for name, text in texts().items()
        for match in pattern.finditer(text)
    ]


def imports(folder: str) -> Iterator[tuple[str, str]]:
    """(file, top-level module) for each third-party import under ``folder``."""
    own = {"service", "models", "load_tests", "tests", "deploy"}
    for path in sorted((ROOT / folder).rglob("*.py")):
        local = own | {entry.stem for entry in path.parent.iterdir()}
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for top in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - local:
                yield str(path.relative_to(ROOT)), top


@pytest.mark.parametrize("name", SETS)
def test_a_lock_names_every_direct_dependency(name: str) -> None:
    assert direct(name) <= locked(name).keys()


@pytest.mark.parametrize("name", SETS)
def test_a_lock_pins_every_entry_with_hashes(name: str) -> None:
    for entry in locked(name).values():
        assert version(entry)
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


@pytest.mark.parametrize(
    ("over", "under"), [("training", "serving"), ("gpu", "serving"), ("dev", "serving"), ("dev", "training")]
)
def test_locks_that_share_an_environment_agree(over: str, under: str) -> None:
    upper, lower = locked(over), locked(under)
    differing = {
        name: (version(upper[name]), version(lower[name]))
        for name in upper.keys() & lower.keys()
        if version(upper[name]) != version(lower[name])
    }
    assert differing == {}


def test_the_benchmark_compares_servers_not_runtimes() -> None:
    assert version(locked("peers")["onnxruntime"]) == version(locked("serving")["onnxruntime-gpu"])


def test_only_the_gpu_image_s_lock_brings_its_libraries_by_the_gigabyte() -> None:
    heavy = re.compile(r"nvidia-(?!ml-py)|cuda-|torch$|tensorrt|triton$")
    assert {kind for kind in SETS for name in locked(kind) if heavy.match(name)} == {"gpu"}


OPTIONAL = {"service": {"pyarrow"}}
"""Imported only where they are needed, with a message that says what to install."""


@pytest.mark.parametrize("folder", INSTALLED)
def test_every_import_is_a_declared_dependency(folder: str) -> None:
    declared = OPTIONAL.get(folder, set()).union(*(direct(name) for name in INSTALLED[folder]))
    owners = packages_distributions()
    undeclared = [
        f"{file} imports {module}"
        for file, module in imports(folder)
        if not {normalised(owner) for owner in [module, *owners.get(module, [])]} & declared
    ]
    assert undeclared == []


def test_no_file_names_a_package_index() -> None:
    assert matches(PACKAGE_INDEX) == []


def test_no_file_holds_a_path_of_one_machine() -> None:
    here = re.compile(re.escape(f"{ROOT}/"))
    assert matches(MACHINE_PATH) + matches(here) == []


@pytest.mark.parametrize("text", ["pip --index~-url X", "https://pypi~.org/", "[[tool.uv~.index]]"])
def test_an_index_would_be_found(text: str) -> None:
    assert PACKAGE_INDEX.search(text.replace("~", ""))  # kept apart, lest this file be found


@pytest.mark.parametrize("target", TARGETS)
def test_make_has_the_target_and_the_readme_tells_of_it(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:.*## \w", makefile, re.MULTILINE)
    assert re.search(rf"\bmake {target}\b", (ROOT / "README.md").read_text())


@pytest.mark.parametrize("target", [*TARGETS, "lock", "clean"])
def test_make_alone_tells_of_the_target(target: str) -> None:
    listing = subprocess.run(["make"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    assert re.search(rf"^\s*make {target} +\S", listing, re.MULTILINE)


def test_an_old_python_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "requirements-bootstrap.lock").touch()
    old = tmp_path / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.1 && exit\nexit 1\n')
    old.chmod(0o755)
    result = subprocess.run(
        ["make", "check", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, check=False, text=True
    )
    assert result.returncode != 0
    assert "Python 3.11 or newer" in result.stderr
    assert "Python 3.9.1" in result.stderr


def test_ci_runs_what_people_run() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", script], check=True)
    lines = script.read_text().splitlines()
    assert "make check" in lines
    assert "REQUIRE_SYSTEM=1 make test" in lines


def test_the_licence_is_apache_2_in_full() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2
    assert project()["project"]["license"] == "Apache-2.0"
