"""``python -m service.replay``: every form of traffic, the report, what it tells, and its exit codes."""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import store as bundle_store
from models.bundle import Bundle
from models.packaging import package
from service.adapters.onnx import OnnxModel
from service.adapters.store.database import Database
from service.adapters.store.store import Store
from service.domain.evidence.books import Key
from service.domain.evidence.cases import Case, answer
from service.domain.evidence.paired import Batch, Pairing
from service.domain.schema import as_posted
from service.replay import main
from tests.models.graphs import tiny

CPU = ("CPUExecutionProvider",)


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """Tiny models in the model store under versions of their own, each made once."""
    made: dict[str, Bundle] = {}

    def make(kind: str, **manifest: Any) -> Bundle:
        name = f"{kind} {sorted(manifest)}"
        if name not in made:
            small = tiny(kind)
            entry = small.manifest.model_copy(update={"version": f"v{uuid.uuid4().hex[:8]}", **manifest})
            folder = tmp_path_factory.mktemp("bundle") / "it"
            made[name] = package(small.graph, entry, small.material, folder, explain=False, quantify=False)
            bundle_store.save(folder)
        return made[name]

    return make


class World:
    """A production model, its traffic, and what a replay of it left behind."""

    def __init__(self, folder: Path, production: Bundle, candidate: Bundle, capsys: Any) -> None:
        self.folder = folder
        self.production = production
        self.candidate = candidate
        self.model = OnnxModel(production.model_path, production.spec, production.binding, providers=CPU)
        self._capsys = capsys

    def rows(self, count: int = 40) -> list[dict[str, Any]]:
        """Reference rows as callers post them, with what production answers to them and a truth."""
        background = self.production.background()[np.arange(count) % 30]
        scores, spec = self.model.predict(background), self.production.spec
        found = []
        for index, (row, score) in enumerate(zip(background, scores, strict=True)):
            values = zip(spec.schema.features, row.tolist(), strict=True)
            posted = {feature.name: as_posted(feature, value) for feature, value in values}
            told = answer(spec, score)
            found.append({**posted, **told, "label": ("bad", "good")[index % 2]})
            if not spec.classes:
                found[-1]["label"] = float(index)
        return found

    def write(self, name: str, lines: list[Any]) -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return path

    def run(self, *arguments: object, candidate: str | None = None) -> tuple[int, str, str]:
        """Exit code, what it told, and what it told on standard error."""
        tags = ["--production", self.production.spec.tag]
        tags += ["--candidate", candidate or self.candidate.spec.tag]
        self._capsys.readouterr()
        status = main([*tags, *map(str, arguments)])
        said = self._capsys.readouterr()
        return status, said.out, said.err

    def report(self, *arguments: object) -> dict[str, Any]:
        path = self.folder / "report.json"
        status, _, said = self.run(*arguments, "--out", path)
        assert status != 2, said
        found: dict[str, Any] = json.loads(path.read_text())
        return found


@pytest.fixture
def make(
    tmp_path: Path,
    packaged: Callable[..., Bundle],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., World]:
    config = tmp_path / "settings.yaml"
    config.write_text("production: other:one\nevidence: {sample: 3, worst: 3}\n")
    monkeypatch.setenv("UNDERSTUDY_CONFIG", str(config))
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UNDERSTUDY_PROVIDERS", CPU[0])

    def made(production: str = "tensor", candidate: str = "positive", **manifest: Any) -> World:
        return World(tmp_path, packaged(production, **manifest), packaged(candidate), capsys)

    return made


def as_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table: ``p:CLASS`` for each probability."""
    found = {name: value for name, value in row.items() if name != "probabilities"}
    return found | {f"p:{name}": value for name, value in row.get("probabilities", {}).items()}


def traffic(world: World, form: str, rows: list[dict[str, Any]]) -> Path:
    """The rows in a file of this form."""
    path = world.folder / f"traffic.{form.partition(' ')[0]}"
    if form == "jsonl requests":
        answered = ("label", "probabilities", "value")
        lines = []
        for start in range(0, len(rows), 7):
            part = rows[start : start + 7]
            instances = [{name: row[name] for name in row if name not in answered} for row in part]
            predictions = [{name: row[name] for name in answered[1:] if name in row} for row in part]
            labels = [row["label"] for row in part]
            lines.append({"instances": instances, "predictions": predictions, "labels": labels})
        return world.write("traffic.jsonl", lines)
    if form == "jsonl":
        return world.write("traffic.jsonl", rows)
    columns = [as_columns(row) for row in rows]
    if form == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns[0])
            writer.writeheader()
            writer.writerows(columns)
        return path
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist(columns), path)
    return path


FORMS = ("jsonl", "jsonl requests", "csv", "parquet")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["tensor", "columns", "regression"])
def test_every_form_of_traffic_says_the_same(make: Callable[..., World], kind: str, form: str) -> None:
    world = make(kind, "positive" if kind == "tensor" else kind)
    rows = world.rows()
    found = world.report("--file", traffic(world, form, rows), "--batch", 16)
    assert next(iter(found)) == "inconsistent"
    assert (found["inconsistent"]["checked"], found["inconsistent"]["rows"]) == (40, 0)
    told = found["replay"]
    assert (told["rows"], told["compared"], told["labelled"]) == (40, 40, 40)
    assert found["evidence"]["rows"] == found["evidence"]["labelled"]["rows"] == 40
    candidate = OnnxModel(
        world.candidate.model_path, world.candidate.spec, world.candidate.binding, providers=CPU
    )
    background = world.production.background()[np.arange(40) % 30]
    before, after = world.model.predict(background), candidate.predict(background)
    if world.production.spec.classes:
        flipped = ((before[:, 1] >= 0.5) != (after[:, 1] >= 0.5)).sum()
        assert found["evidence"]["measures"]["flips"]["flipped"] == flipped
    renters = sum(row["home"] == "rent" for row in rows)
    assert found["evidence"]["slices"]["renters"]["rows"] == renters
    assert found["evidence"]["speed"]["rows"] == 40
    assert set(found["evidence"]["noise"]["variants"]) >= {"alone", "session"}


def test_an_image_is_replayed_from_requests_and_from_a_table(make: Callable[..., World]) -> None:
    world = make("image", "image")
    pixels = world.production.background()[:10]
    requests = world.write("a.jsonl", [{"instances": pixels.reshape(-1, 1, 2, 2).tolist()}])
    table = world.folder / "b.csv"
    header = ",".join(f"pixel:{index}" for index in range(4))
    lines = [",".join(map(repr, row)) for row in pixels.astype(np.float64).tolist()]
    table.write_text("\n".join([header, *lines, ""]))
    first, second = (world.report("--file", path)["evidence"]["measures"] for path in (requests, table))
    assert first == second


def test_answers_that_production_does_not_give_again_come_first_and_have_an_exit_code(
    make: Callable[..., World],
) -> None:
    world = make(candidate="tensor")
    rows = world.rows()
    wrong = rows[20]["probabilities"]
    wrong["bad"], wrong["good"] = wrong["good"], wrong["bad"]
    path = world.write("traffic.jsonl", [*rows[:10], {"request_id": "it", **rows[20]}, *rows[10:20]])
    status, said, _ = world.run("--file", path)
    assert status == 4
    first, example, *_ = said.splitlines()
    assert first.startswith("WARNING: production does not answer as recorded on 1 of 21 rows")
    assert "line 11, request it, instance 0" in example
    found = world.report("--file", path)
    assert found["inconsistent"]["rows"] == 1
    assert found["inconsistent"]["examples"][0]["place"] == "line 11"


def test_a_candidate_that_surely_differs_too_much_is_a_rollback_with_an_exit_code(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    rows = [{name: row[name] for name in ("age", "home", "income")} for row in world.rows(400)]
    path = world.write("traffic.jsonl", rows)
    assert world.run("--file", path)[:1] == (0,)
    monkeypatch.setenv("UNDERSTUDY_VERDICT_LEAST_ROWS", "100")
    status, said, _ = world.run("--file", path)
    assert status == 3
    assert "verdict: rollback" in said
    assert "No recorded answers" in said.splitlines()[0]
    assert world.run("--file", path, "--limit", 50)[0] == 0


def test_a_line_that_does_not_fit_stops_the_replay_or_is_skipped_and_counted(
    make: Callable[..., World],
) -> None:
    world = make()
    rows = world.rows(10)
    bad: list[Any] = [{**rows[0], "home": "tent"}, {"instances": [rows[1], {"age": 1}]}, 5]
    path = world.write("traffic.jsonl", [*rows[:4], *bad, *rows[4:]])
    status, _, said = world.run("--file", path)
    assert status == 2
    assert said.startswith("error: traffic.jsonl, line 5: instances.0.home: unknown category 'tent'")
    assert "--skip-invalid" in said
    found = world.report("--file", path, "--skip-invalid")["replay"]
    assert (found["rows"], found["skipped"]["records"]) == (10, 3)
    assert [each["place"] for each in found["skipped"]["examples"]] == ["line 5", "line 6", "line 7"]
    assert found["skipped"]["examples"][0]["errors"][0]["loc"] == ["instances", 0, "home"]


def test_fields_that_are_no_features_are_named(make: Callable[..., World]) -> None:
    world = make()
    path = world.write("traffic.jsonl", [{**row, "customer": 5, "day": "x"} for row in world.rows(3)])
    assert world.report("--file", path)["replay"]["fields_left_out"] == ["customer", "day"]


def test_the_column_of_the_truth_can_be_named(make: Callable[..., World]) -> None:
    world = make()
    rows = [{**row, "label": None, "truth": "good"} for row in world.rows(6)]
    path = world.write("traffic.jsonl", [*rows[:4], {**rows[4], "truth": None}, rows[5]])
    assert world.report("--file", path, "--labels", "truth")["replay"]["labelled"] == 5
    assert world.report("--file", path)["replay"]["labelled"] == 0


def test_mistakes_are_told_in_one_line(make: Callable[..., World]) -> None:
    world = make()
    path = world.write("traffic.jsonl", world.rows(3))
    empty = world.write("empty.jsonl", [])
    feature = world.production.spec.schema.names()[0]
    table = world.folder / "table.csv"
    table.write_text(f"{feature}\n1\n")
    for arguments, candidate, expected in (
        (("--file", path), "tiny:nothing", "tiny:nothing is not in the model store"),
        (("--file", world.folder / "no.csv"), None, "cannot be read"),
        (("--file", empty), None, "there are no rows to replay"),
        (("--kept",), None, "there are no rows to replay"),
        (("--file", table, "--labels", "truth"), None, "there is no column 'truth', which --labels names"),
        (("--file", path, "--labels", feature), None, f"--labels {feature}: is a feature of"),
        (("--file", path, "--out", world.folder / "no" / "report.json"), None, "there is no such folder"),
    ):
        status, _, said = world.run(*arguments, candidate=candidate)
        assert status == 2
        assert expected in said
        assert said.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["--candidate", "a:b"], ["--kept"], ["--kept", "--candidate", "a:b", "--limit", "0"],
     ["--kept", "--file", "x.csv", "--candidate", "a:b"]],
)  # fmt: skip
def test_a_command_line_that_makes_no_sense_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_the_report_can_be_the_only_output(make: Callable[..., World]) -> None:
    world = make()
    path = world.write("traffic.jsonl", world.rows(3))
    status, said, _ = world.run("--file", path, "--out", "-")
    assert status == 0
    assert json.loads(said)["replay"]["rows"] == 3


def keep_cases(world: World, cases: list[Case], number: int = 0) -> None:
    """Writes what the shadow of one candidate kept."""
    home = world.folder / "home"
    home.mkdir(exist_ok=True)
    store, spec = (
        Store(Database(f"sqlite:///{home / 'store.db'}", patience=5, durable=False)),
        world.production.spec,
    )
    pairing = Pairing(Key(spec.tag, f"tiny:{number}", f"{number:032x}"), spec.task, spec.classes, ())
    assert store.add(Batch(f"{number:032x}", 1, pairing, {1: {}}, tuple(cases)))
    store.close()


def keep(world: World, *, redacted: int = 0) -> None:
    """Cases of eight rows, some twice and some redacted, of two candidates."""
    rows = world.rows(8)
    for number in range(2):
        cases = []
        for index in range(3 * number, 8):
            row = rows[index]
            inputs = {name: row[name] for name in ("age", "home", "income")}
            told = {name: row[name] for name in ("probabilities",)}
            document = _document(inputs, told, ["income"] if index < redacted else [])
            cases += [
                Case(kind, "all", float(index), f"r{index}", 0, 100.0, document)
                for kind in ("worst", "sample")
            ]
        keep_cases(world, cases, number)


def _document(inputs: dict[str, Any], told: dict[str, Any], redacted: Sequence[str] = ()) -> dict[str, Any]:
    shown = inputs | dict.fromkeys(redacted, "dropped")
    return {"inputs": shown, "redacted": list(redacted), "production": told}


def test_kept_rows_are_replayed_once_each_and_decide_nothing(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_VERDICT_LEAST_ROWS", "1")
    world = make()
    keep(world, redacted=2)
    found = world.report("--kept")
    told = found["replay"]
    assert (told["source"], told["rows"], told["picked"], told["redacted"]) == ("kept", 6, 6, 2)
    assert (found["inconsistent"]["checked"], found["inconsistent"]["rows"]) == (6, 0)
    assert found["verdict"]["state"] == "hold"
    assert found["verdict"]["reasons"][0]["code"] == "not_representative"


def test_what_was_exported_is_what_is_kept(make: Callable[..., World]) -> None:
    world = make()
    keep(world, redacted=1)
    path = world.folder / "kept.jsonl"
    status, said, _ = world.run("--export", path)
    assert (status, said) == (
        0,
        f"7 rows are in {path}; 1 are left out because columns of theirs are redacted\n",
    )
    kept, exported = world.report("--kept"), world.report("--file", path)
    assert kept["evidence"]["measures"] == exported["evidence"]["measures"]
    assert kept["inconsistent"] == exported["inconsistent"]
    assert exported["verdict"]["reasons"][0]["code"] == "not_representative"


def test_a_kept_image_is_replayed_as_it_was_posted(make: Callable[..., World]) -> None:
    world = make("image", "image")
    pixels = world.production.background()[:1]
    told = answer(world.production.spec, world.model.predict(pixels)[0])
    inputs = {"image": pixels.reshape(1, 2, 2).tolist()}
    keep_cases(world, [Case("worst", "all", 0.0, "r", 0, 1.0, _document(inputs, told))])
    found = world.report("--kept")
    assert (found["inconsistent"]["checked"], found["inconsistent"]["rows"]) == (1, 0)
