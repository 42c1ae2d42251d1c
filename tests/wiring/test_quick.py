"""An edge knows the quick methods, and nothing that takes memory for the others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from service.adapters.explainers import METHODS
from service.wiring.quick import QUICK

ROOT = Path(__file__).parents[2]


def test_every_quick_method_of_the_registry_is_on_the_edge() -> None:
    assert tuple(method for method in METHODS if method.quick) == QUICK


def test_an_edge_imports_neither_scipy_nor_shap_nor_what_draws() -> None:
    heavy = {"scipy", "shap", "PIL", "sklearn"}
    look = f"import sys, service.wiring.edge; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
