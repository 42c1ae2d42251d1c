"""An edge knows the quick methods, and nothing that takes memory for the others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.gate import parity
from models.packaging import package
from service.adapters import subjects
from service.adapters.bundles import Loaded
from service.adapters.explainers import METHODS
from service.adapters.onnx import OnnxModel
from service.domain.explainers.document import Wish
from service.wiring.quick import MOST_ROWS, NOTHING, QUICK, quick_explanations
from tests.models.graphs import tiny

ROOT = Path(__file__).parents[2]


def test_every_quick_method_of_the_registry_is_on_the_edge() -> None:
    assert tuple(method for method in METHODS if method.quick) == QUICK


def test_an_edge_imports_neither_scipy_nor_shap_nor_what_draws() -> None:
    heavy = {"scipy", "shap", "PIL", "sklearn"}
    look = f"import sys, service.wiring.edge; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    small = tiny("tensor")
    bundle = package(small.graph, small.manifest, small.material, tmp_path / "bundle", explain=False)
    model = OnnxModel(bundle.model_path, bundle.spec, bundle.binding, providers=("CPUExecutionProvider",))
    return Loaded(bundle, model, parity(bundle, model))


def test_so_many_rows_are_explained_at_a_time_as_the_event_loop_can_spare(loaded: Loaded) -> None:
    hurried, patient = quick_explanations(loaded, 0.0), quick_explanations(loaded, 10.0)
    assert (hurried.rows, patient.rows) == (1, MOST_ROWS)
    assert patient.explain is not None
    rows = loaded.bundle.background()[:5]
    found = patient.explain(rows, loaded.model.predict(rows), Wish())
    assert found is not None
    assert (found.method, len(found.documents)) == ("linear-exact", 5)


def test_a_model_whose_graph_breaks_every_method_is_served_without_reasons(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def structure_of(*_: object) -> None:
        raise IndexError("a graph like no other")

    monkeypatch.setattr(subjects, "structure_of", structure_of)
    assert quick_explanations(loaded, 0.002) == NOTHING
    assert "cannot be explained on the edge" in caplog.text
