"""The tree is the architecture: each contract of pyproject.toml holds, and each one bites."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

DOMAIN_MAY_IMPORT = {"numpy", "scipy", "service"}
DOMAIN_NEVER_TOUCHES = {
    "asyncio", "http", "logging", "multiprocessing", "os", "pickle", "selectors", "signal", "socket",
    "sqlite3", "ssl", "subprocess", "threading", "urllib",
}  # fmt: skip

# One forbidden line each: where it is written, the line, and the contract that must refuse it.
VIOLATIONS = {
    "an_upward_import": ("service/domain/schema.py", "import service.wiring", "each layer"),
    "a_sideways_import": ("service/adapters/onnx.py", "import service.paths", "each layer"),
    "a_module_without_a_layer": ("service/stray.py", "import json", "each layer"),
    "a_runtime_in_the_domain": ("service/domain/schema.py", "import onnxruntime", "the domain"),
    "a_framework_in_the_domain": ("service/domain/schema.py", "import pydantic", "the domain"),
    "a_bundle_in_the_domain": ("service/domain/schema.py", "import models.manifest", "the domain"),
    "an_adapter_in_a_path": ("service/paths/__init__.py", "import service.adapters.onnx", "only wiring"),
    "an_adapter_in_http": ("service/http/__init__.py", "import service.adapters.onnx", "only wiring"),
    "prometheus_in_http": ("service/http/__init__.py", "import prometheus_client", "only adapters"),
    "a_runtime_in_models": ("models/manifest.py", "import onnxruntime", "only adapters"),
    "a_path_in_models": ("models/manifest.py", "import service.paths", "models import"),
    "another_adapter_in_models": ("models/manifest.py", "import service.adapters.frames", "models import"),
}


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    """import-linter's command on the ``service`` and ``models`` of ``tree``."""
    command = [
        sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()",
        "--no-logo", "--no-cache",
    ]  # fmt: skip
    return subprocess.run(
        command, cwd=tree, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tree)}
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("tree")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for package in ("service", "models"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def domain_imports() -> dict[str, set[str]]:
    """Top-level names imported by each file of the domain."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "service" / "domain").rglob("*.py"):
        names = found.setdefault(str(path.relative_to(ROOT)), set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                names.add((node.module or "").partition(".")[0])
    return found


def test_every_contract_holds() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("case", VIOLATIONS)
def test_a_contract_refuses(case: str, tree: Path) -> None:
    file, line, contract = VIOLATIONS[case]
    path = tree / file
    before = path.read_text() if path.exists() else None
    path.write_text(f"{before or ''}\n{line}\n")
    try:
        result = lint(tree)
    finally:
        path.unlink() if before is None else path.write_text(before)
    assert result.returncode == 1, result.stdout + result.stderr
    broken = [text for text in result.stdout.splitlines() if " BROKEN" in text]
    assert any(text.startswith(contract) for text in broken), result.stdout


def test_every_contract_has_a_line_that_it_refuses() -> None:
    tried = {contract for _, _, contract in VIOLATIONS.values()}
    untried = [entry["name"] for entry in CONTRACTS if not entry["name"].startswith(tuple(tried))]
    assert untried == []


def test_the_domain_is_numpy_and_the_standard_library_without_input_or_output() -> None:
    files = domain_imports()
    assert files
    for file, names in files.items():
        third_party = names - sys.stdlib_module_names
        assert third_party <= DOMAIN_MAY_IMPORT, f"{file} imports {sorted(third_party - DOMAIN_MAY_IMPORT)}"
        assert not names & DOMAIN_NEVER_TOUCHES, f"{file} imports {sorted(names & DOMAIN_NEVER_TOUCHES)}"
