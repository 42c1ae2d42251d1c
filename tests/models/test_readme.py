"""The example in models/README.md works as printed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from models import store
from models.bundle import open_bundle
from models.cli import main

README = Path(__file__).parents[2] / "models" / "README.md"


def test_the_example_trains_and_packages_as_printed(tmp_path: Path) -> None:
    script = _block(r"python\n# train\.py")
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=dict(os.environ), check=True, timeout=60)
    (tmp_path / "spec.yaml").write_text(_block(r"yaml\n# spec\.yaml"))
    command = next(line for line in _commands() if "--model" in line)
    words = [
        str(tmp_path / word) if word.endswith((".csv", ".onnx", ".yaml")) else word
        for word in shlex.split(command)
    ]
    assert words[:3] == ["python", "-m", "models"]
    assert main(words[3:]) == 0
    bundle = open_bundle(store.locate("wine:1"))
    assert bundle.spec.classes == ("barbera", "barolo", "grignolino")
    assert len(bundle.golden()[0]) == 50


def _block(start: str) -> str:
    found = re.search(rf"```{start}\n(.*?)```", README.read_text(), re.DOTALL)
    assert found is not None
    return found.group(1)


def _commands() -> list[str]:
    return README.read_text().replace("\\\n", " ").splitlines()
