"""The command line: what a person types, what they see, and one line for each mistake."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import store
from models.bundle import open_bundle
from models.canonical import output_names
from models.cli import main
from models.manifest import Manifest, UncertaintyEntry, write_manifest
from service.adapters.quantities import quantifier_of
from service.domain.uncertainty.quantifier import Doubt
from tests.models.graphs import HOMES, Tiny, affine, tiny

CPU = ("CPUExecutionProvider",)


class Case:
    """The files a person would have, and the command that packages them."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.small = tiny(kind)
        self.manifest: Manifest = self.small.manifest.model_copy(
            update={"version": f"v{uuid.uuid4().hex[:8]}"}
        )
        self.tag = self.manifest.spec.tag
        (folder / "model.onnx").write_bytes(self.small.graph)
        write_manifest(self.manifest, folder / "spec.yaml")
        material = self.small.material
        write_rows(folder / "golden.csv", self.small, material.golden, material.outputs)
        write_rows(folder / "data.csv", self.small, material.reference)
        write_rows(folder / "calibration.csv", self.small, material.calibration)

    def package(self, *more: str) -> int:
        names = {"model": "model.onnx", "manifest": "spec.yaml", "data": "data.csv", "golden": "golden.csv"}
        files = [word for name, file in names.items() for word in (f"--{name}", str(self.folder / file))]
        return main(["package", *files, "--target", "outcome", *more])

    def calibration(self) -> tuple[str, str]:
        return "--calibration", str(self.folder / "calibration.csv")


def write_rows(path: Path, small: Tiny, rows: np.ndarray, outputs: np.ndarray | None = None) -> None:
    """Rows as raw cells, with their outputs or their outcome."""
    spec = small.manifest.spec
    names = spec.schema.names() or tuple(f"pixel:{index}" for index in range(rows.shape[1]))
    extra = ["outcome"] if outputs is None else list(output_names(spec))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, *extra])
        for index, row in enumerate(rows):
            writer.writerow([*_cells(names, row), *_tail(small, row, outputs, index)])


def _cells(names: Iterable[str], row: np.ndarray) -> list[str]:
    cells = []
    for name, value in zip(names, row, strict=True):
        if np.isnan(value):
            cells.append("")
        elif name == "home":
            cells.append(HOMES[int(value)])
        else:
            cells.append(f"{value:g}" if name == "age" else repr(float(value)))
    return cells


def _tail(small: Tiny, row: np.ndarray, outputs: np.ndarray | None, index: int) -> list[str]:
    if outputs is not None:
        return [repr(float(value)) for value in outputs[index]]
    answer = small.trained(row[None])[0]
    classes = small.manifest.classes
    return [classes[int(answer.argmax())] if classes else repr(float(answer[0]))]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path, "tensor")


@pytest.mark.parametrize("kind", ["tensor", "columns", "image", "regression", "positive"])
def test_package_makes_a_bundle_of_files_of_every_layout(tmp_path: Path, kind: str) -> None:
    case = Case(tmp_path, kind)
    assert case.package(*case.calibration()) == 0
    bundle = open_bundle(store.locate(case.tag))
    np.testing.assert_array_equal(bundle.background(), case.small.material.reference)
    np.testing.assert_array_equal(bundle.golden()[0], case.small.material.golden)
    np.testing.assert_array_equal(bundle.calibration()[0], case.small.material.calibration)
    np.testing.assert_array_equal(bundle.golden()[1], case.small.material.outputs)


def test_without_calibration_rows_a_stated_share_is_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case(tmp_path, "tensor")
    many = np.tile(case.small.material.reference, (5, 1)) + np.arange(200)[:, None] * [[1, 0, 0]]
    write_rows(tmp_path / "data.csv", case.small, many.astype(np.float32))
    assert case.package() == 0
    assert "40 of the 200 rows of data.csv (20%, seed 0)" in capsys.readouterr().out
    bundle = open_bundle(store.locate(case.tag))
    aside, kept = bundle.calibration()[0], bundle.background()
    assert (len(aside), len(kept)) == (40, 160)
    assert not set(map(bytes, aside)) & set(map(bytes, kept))


def test_package_says_what_no_golden_row_shows(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    material = case.small.material
    write_rows(case.folder / "golden.csv", case.small, material.golden[:1], material.outputs[:1])
    assert case.package(*case.calibration()) == 0
    assert "no golden row shows home missing, home=" in capsys.readouterr().out


def test_package_refuses_a_model_that_differs_from_training(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = case.small.material.outputs.copy()
    outputs[4, 1] -= 0.25
    write_rows(case.folder / "golden.csv", case.small, case.small.material.golden, outputs)
    assert case.package(*case.calibration()) == 2
    shown = capsys.readouterr().err
    assert "row 4, output 'p:good'" in shown
    assert "difference 0.25" in shown
    assert not store.exists(case.tag)


def test_package_tests_explanations_unless_told_otherwise(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    assert case.package(*case.calibration(), "--without-explanations") == 0
    assert open_bundle(store.locate(case.tag)).certificate() is None
    assert case.package(*case.calibration(), "--force") == 0
    assert open_bundle(store.locate(case.tag)).certificate() is not None


def second(case: Case, name: str, weights: NDArray[Any], bias: Sequence[float]) -> str:
    """Writes a second graph; returns where it lies."""
    path = case.folder / name
    path.write_bytes(affine(weights, np.array(bias)))
    return str(path)


def test_package_takes_second_graphs_and_says_what_they_are_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case(tmp_path, "regression")
    rng = np.random.default_rng(3)
    members = [second(case, f"{seed}.onnx", rng.normal(size=(3, 1)), [0]) for seed in range(3)]
    given = [
        *("--reconstruction", second(case, "errors.onnx", rng.normal(size=(3, 1)) ** 2, [0])),
        *("--quantiles", second(case, "quantiles.onnx", rng.normal(size=(3, 1)) @ np.ones((1, 2)), [-1, 1])),
        *("--members", *members),
    ]
    assert case.package(*case.calibration(), "--without-explanations", *given) == 0
    bundle = open_bundle(store.locate(case.tag))
    report = bundle.uncertainty()
    assert report is not None
    assert {"reconstruction", "quantile", "spread"} <= report["measures"].keys()
    assert report["measures"]["spread"]["members"] == 3
    assert report["chosen"]["domain"] == "reconstruction"
    quantifier = quantifier_of(bundle, providers=CPU, threads=1)
    assert quantifier is not None
    rows, scores, labels = bundle.calibration()
    doubt = Doubt(region="quantile", extra=frozenset({"spread"}))
    found = quantifier.quantify(rows, scores, doubt).columns
    low, high = found["interval"].T
    assert ((low <= labels) & (labels <= high)).mean() >= 0.9
    assert (found["epistemic"] > 0).any()
    capsys.readouterr()
    assert main(["inspect", case.tag]) == 0
    shown = capsys.readouterr().out
    for name in ("reconstruction.onnx", "members.onnx", "quantiles.onnx", "spread     spread"):
        assert name in shown


@pytest.mark.parametrize(
    ("option", "bias", "complaint"),
    [
        ("--quantiles", [0, 1], "the graph of quantiles is of no use: labels are no numbers"),
        ("--members", [0, 5], "the graph of members is of no use: its members answer no probabilities"),
        ("--reconstruction", [0, 1], "the graph of reconstruction of tiny:"),
    ],
)
def test_a_second_graph_that_is_of_no_use_is_refused(
    option: str, bias: list[float], complaint: str, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = second(case, "second.onnx", np.ones((3, 2)), bias)
    assert case.package(*case.calibration(), "--without-explanations", option, graph) == 2
    assert complaint in capsys.readouterr().err
    assert not store.exists(case.tag)


def test_measures_are_left_out_only_where_nothing_relies_on_them(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = (*case.calibration(), "--without-explanations", "--without-uncertainty")
    graph = second(case, "second.onnx", np.ones((3, 1)), [0])
    assert case.package(*plain, "--reconstruction", graph) == 2
    assert "reconstruction: only measures of uncertainty use such a graph" in capsys.readouterr().err
    abstaining = case.manifest.model_copy(update={"uncertainty": UncertaintyEntry(abstain=("ambiguous",))})
    write_manifest(abstaining, case.folder / "spec.yaml")
    assert case.package(*plain) == 2
    assert "uncertainty.abstain: the bundle was packaged without measures" in capsys.readouterr().err
    write_manifest(case.manifest, case.folder / "spec.yaml")
    assert case.package(*plain) == 0
    assert open_bundle(store.locate(case.tag)).uncertainty() is None


def test_package_replaces_a_bundle_only_by_force(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert case.package(*case.calibration()) == 0
    assert case.package(*case.calibration()) == 2
    assert "--force" in capsys.readouterr().err
    assert case.package(*case.calibration(), "--force") == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("data.csv", "rent", "castle", "home: 'castle' is not one of its categories"),
        ("data.csv", "outcome", "result", "target column 'outcome' is not in the data"),
        ("golden.csv", "p:good", "good", "column 'p:good' is not in the data"),
        ("spec.yaml", "binary", "ternary", "task: "),
        ("model.onnx", None, "nonsense", "cannot load"),
        ("golden.csv", None, "", "no rows"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_it(
    case: Case, capsys: pytest.CaptureFixture[str], file: str, old: str | None, new: str, complaint: str
) -> None:
    path = case.folder / file
    path.write_text(new if old is None else path.read_text().replace(old, new))
    assert case.package(*case.calibration()) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    assert file in shown
    assert complaint in shown
    assert not store.exists(case.tag)


def test_inspect_shows_what_is_inside_and_checks_parity_again(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    assert case.package(*case.calibration()) == 0
    capsys.readouterr()
    assert main(["inspect", case.tag]) == 0
    shown = capsys.readouterr().out
    for part in (
        case.tag,
        "owner, rent, parents",
        "may be missing",
        "p:bad, p:good",
        "renters",
        "parity     passed",
    ):
        assert part in shown
    for name, digest in open_bundle(store.locate(case.tag)).manifest.digests.items():
        assert f"{(store.locate(case.tag) / name).stat().st_size:,} bytes  {digest}" in shown


def test_inspect_of_a_damaged_bundle_names_the_file(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert case.package(*case.calibration()) == 0
    (store.locate(case.tag) / "golden.npz").write_bytes(b"")
    assert main(["inspect", case.tag]) == 2
    assert "golden.npz was altered" in capsys.readouterr().err


SUITE = """
checks:
  - {name: homes may matter, kind: invariance, change: {home: {others: true}}, within: 1, same_label: false}
  - {name: everyone is good, kind: minimum_functionality, expect: {label: good}}
  - {name: age is no news, kind: invariance, severity: warn, change: {age: {to: 4}}, within: 0}
"""


def suite(case: Case, text: str = SUITE) -> tuple[str, str]:
    path = case.folder / "promises.yaml"
    path.write_text(text)
    return "--behaviour", str(path)


def test_package_refuses_a_model_that_fails_its_suite_unless_told_otherwise(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = (*case.calibration(), "--without-explanations", "--without-uncertainty", *suite(case))
    assert case.package(*plain) == 2
    shown = capsys.readouterr().err
    assert re.search(r"'everyone is good' holds for \d+\.\d% of 40 rows.*worst row \d+: bad 0\.\d+", shown)
    assert not store.exists(case.tag)
    assert case.package(*plain, "--allow-failing") == 0
    assert main(["inspect", case.tag]) == 0
    shown = capsys.readouterr().out
    assert "behaviour  FAILS: 2 of 3 behavioural checks do not hold" in shown
    assert "'everyone is good' holds for" in shown


def test_allowing_failures_without_a_suite_is_a_mistake(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    assert case.package(*case.calibration(), "--allow-failing") == 2
    assert "--allow-failing goes with --behaviour" in capsys.readouterr().err


def test_check_runs_the_bundles_own_suite_and_says_where_it_fails(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = (*case.calibration(), "--without-explanations", "--without-uncertainty")
    assert case.package(*plain, *suite(case), "--allow-failing") == 0
    capsys.readouterr()
    assert main(["check", case.tag]) == 1
    shown = capsys.readouterr().out
    for line in (
        r"ok +homes may matter +invariance +40 +100\.0% +100\.0%",
        r"FAILED +everyone is good +minimum_functionality +40 +\d+\.\d% +100\.0%",
        r"warning +age is no news +invariance +\d+ +\d+\.\d% +100\.0%",
        r" +row \d+: age \d -> 4: (good|bad) 0\.\d+ -> (good|bad) 0\.\d+",
    ):
        assert re.search(rf"^{line}$", shown, re.MULTILINE), shown
    assert shown.endswith(f"{case.tag} FAILS: 2 of 3 behavioural checks do not hold\n")
    assert main(["check", case.tag, "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == open_bundle(store.locate(case.tag)).behaviour()


def test_check_takes_another_suite_in_place_of_the_bundles_own(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = (*case.calibration(), "--without-explanations", "--without-uncertainty")
    assert case.package(*plain) == 0
    assert main(["check", case.tag]) == 2
    assert f"{case.tag} has no behavioural suite of its own; give one by --suite" in capsys.readouterr().err
    _, path = suite(case, SUITE.replace("{label: good}}", "{label: good}, severity: warn}"))
    assert main(["check", case.tag, "--suite", path]) == 0
    assert "passes with warnings: 2 of 3 behavioural checks do not hold" in capsys.readouterr().out
    _, path = suite(case, SUITE.replace("to: 4", "to: old"))
    assert main(["check", case.tag, "--suite", path]) == 2
    shown = capsys.readouterr().err
    assert shown == "error: check 'age is no news': change.age.to: value 0, age: 'old' is not a number\n"


def test_evaluate_shows_every_slice_with_intervals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case(tmp_path, "tensor")
    plain = (*case.calibration(), "--without-explanations", "--without-uncertainty")
    assert case.package(*plain) == 0
    data = ("--data", str(tmp_path / "data.csv"), "--target", "outcome")
    capsys.readouterr()
    assert main(["evaluate", case.tag, case.tag, *data]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"production {case.tag}, candidate {case.tag}: 40 rows\n")
    number = r"[+-]?\d\.\d{4}"
    interval = rf"{number} \[{number}, {number}\]"
    for name in ("accuracy", "brier", "log_loss", "auc"):
        assert re.search(rf"^all +40 +{name} +{interval} +{interval} +{interval}$", shown, re.MULTILINE), (
            shown
        )
    assert re.search(r"^renters +\d+ +accuracy", shown, re.MULTILINE)
    assert main(["evaluate", case.tag, case.tag, *data, "--json", "--confidence", "0.8", "--seed", "3"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["confidence"], document["seed"], list(document["slices"])) == (
        0.8,
        3,
        ["all", "renters"],
    )


def test_evaluate_tells_a_mistake_in_the_file_from_one_in_the_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ("--without-explanations", "--without-uncertainty")
    cases = []
    for kind in ("tensor", "regression"):
        (tmp_path / kind).mkdir()
        cases.append(Case(tmp_path / kind, kind))
        assert cases[-1].package(*cases[-1].calibration(), *plain) == 0
    first, second = (case.tag for case in cases)
    data = str(tmp_path / "tensor" / "data.csv")
    assert main(["evaluate", first, second, "--data", data, "--target", "outcome"]) == 2
    assert f"error: {first} answers bad, good, {second} a value" in capsys.readouterr().err
    assert main(["evaluate", first, first, "--data", data, "--target", "label"]) == 2
    assert "data.csv: target column 'label' is not in the data" in capsys.readouterr().err
    for confidence in ("much", "1", "nan"):
        with pytest.raises(SystemExit) as caught:
            main(["evaluate", first, first, "--data", data, "--target", "x", "--confidence", confidence])
        assert caught.value.code == 2
        assert f"{confidence} is no number between 0.5 and 0.999" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", first, first, "--data", data, "--target", "x", "--seed", "-1"])
    assert caught.value.code == 2


def test_list_shows_every_bundle_and_says_which_cannot_be_used(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    assert case.package(*case.calibration()) == 0
    capsys.readouterr()
    assert main(["list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [case.tag, "binary"] in [line[:2] for line in lines]
    (store.locate(case.tag) / "golden.npz").write_bytes(b"")
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"{re.escape(case.tag)}\s+cannot be used: ", shown)
    assert "golden.npz was altered" in shown


def test_as_a_program_it_exits_with_its_code_and_no_traceback(tmp_path: Path) -> None:
    def models(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "models", *words],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "BENTOML_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    listed = models("list")
    assert listed.returncode == 0
    assert "no bundles yet" in listed.stdout
    absent = models("inspect", "credit:gbm-1")
    assert absent.returncode == 2
    assert absent.stderr.startswith("error: credit:gbm-1 is not in the model store")
    assert "Traceback" not in absent.stderr
