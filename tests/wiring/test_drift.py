"""Rows by bin, from bundles to the page, the store and the document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.adapters import bundles
from service.adapters.bundles import Loaded
from service.domain.observation import ShadowBatch
from service.domain.variables import answer_columns, variable_columns
from service.settings import Environment, Settings
from service.wiring import drift
from service.wiring.drift import Counting, DriftBuilder
from tests.paths.shadows import FakeAccount, origin_of
from tests.wiring.bundles import CPU, tiny_bundle

ROWS = 90


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return tiny_bundle(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return tiny_bundle(tmp_path_factory.mktemp("bundles"), version="two")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)


def build(home: Path, account: FakeAccount, *loaded: Loaded, **settings: Any) -> Counting:
    made = Settings.model_validate({"production": "tiny:one", "drift": settings})
    builder = DriftBuilder(made, Environment(home=home, providers=CPU), account)
    return builder.build(loaded[0], loaded[1:])


def asked(loaded: Loaded, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Rows like the reference data's, some of them far off, and the answers to them."""
    background = loaded.bundle.background()
    rows = background[np.random.default_rng(seed).integers(len(background), size=ROWS)].copy()
    rows[:9, 0] *= 10
    return rows, loaded.model.predict(rows)


def arrive(counting: Counting, rows: np.ndarray, scores: np.ndarray, canary: int = 0) -> None:
    """All rows at once; the first ``canary`` were answered by another model."""
    answerers = (np.arange(len(rows)) < canary).astype(np.uint8)
    senders = np.zeros(len(rows), np.int16)
    counting.arrivals.offer(
        ShadowBatch(rows, scores, answerers, senders, 0.0, origin_of("a", rows=len(rows)))
    )


def work(counting: Counting) -> None:
    """Everything that the thread would do, and its end."""
    assert counting.keeper is not None
    counting.keeper.run_once(wait=0.0)
    while counting.arrivals.looks is not None and counting.arrivals.looks.look():
        pass
    counting.keeper.close()


def page(home: Path) -> dict[tuple[str, ...], float]:
    """By family, role where there is one, variable and bin; of the two-sample test by who was right."""
    found = {}
    for family in text_string_to_metric_families((home / "distributions.prom").read_text()):
        for sample in family.samples:
            wanted = ("version", "role", "variable", "bin", "correct")
            labels = (sample.labels[name] for name in wanted if name in sample.labels)
            found[sample.name.removeprefix("understudy_"), *labels] = sample.value
    return found


def expected(loaded: Loaded, role: str, rows: np.ndarray, scores: np.ndarray) -> dict[tuple[str, ...], float]:
    """The same by one count of all rows."""
    spec = loaded.bundle.spec
    binning = bundles.binning_of(loaded.bundle)
    columns = {**dict(variable_columns(spec, rows)), **dict(answer_columns(spec, scores))}
    counts = binning.split(binning.counts(columns))
    return {
        ("distribution_rows_total", spec.version, role, variable.name, name): float(count)
        for variable, each in zip(binning.variables, counts, strict=True)
        for name, count in zip(variable.names, each, strict=True)
        if variable.name != "domain"
    }


def of_domain(found: dict[tuple[str, ...], float]) -> float:
    return sum(count for key, count in found.items() if key[0].startswith("dist") and key[3] == "domain")


def test_what_arrives_and_what_a_candidate_answers_is_on_the_page(
    tmp_path: Path, production: Loaded, candidate: Loaded
) -> None:
    account = FakeAccount()
    counting = build(tmp_path, account, production, candidate)
    rows, scores = asked(production)
    other = candidate.model.predict(rows)
    arrive(counting, rows, scores)
    counting.candidates["tiny:two"].count(rows, other)
    work(counting)
    found = page(tmp_path)
    wanted = {
        **expected(production, "production", rows, scores),
        **expected(candidate, "candidate", rows, other),
    }
    assert {key: found[key] for key in wanted} == wanted
    assert of_domain(found) == ROWS
    assert found["two_sample_rows_total", "one", "true"] + found["two_sample_rows_total", "one", "false"] > 0
    assert dict(account.rows) == {"counted": ROWS}


def test_the_reference_is_shown_beside_it(tmp_path: Path, production: Loaded) -> None:
    work(build(tmp_path, FakeAccount(), production))
    found = page(tmp_path)
    for variable in bundles.binning_of(production.bundle).variables:
        for name, rows in zip(variable.names, variable.reference, strict=True):
            assert found["reference_rows", "one", variable.name, name] == rows


def test_the_document_has_the_same_rows(tmp_path: Path, production: Loaded) -> None:
    counting = build(tmp_path, FakeAccount(), production)
    rows, scores = asked(production)
    arrive(counting, rows, scores, canary=30)
    work(counting)
    document = json.loads((tmp_path / "drift.json").read_text())
    assert (document["store"], document["reason"]) == ("ok", None)
    (model,) = document["models"]
    assert (model["model"], model["role"]) == ("tiny:one", "production")
    wanted = expected(production, "production", rows, scores)
    answers = expected(production, "production", rows, scores[30:])
    for window in ("1h", "24h", "start"):
        for variable in model["windows"][window]["variables"]:
            name = variable["variable"]
            if name == "domain":
                assert sum(each["live"] for each in variable["bins"]) == ROWS
                continue
            source = wanted if name.startswith("feature:") else answers_of(production, rows, scores[30:])
            for each in variable["bins"]:
                key = ("distribution_rows_total", "one", "production", name, each["bin"])
                assert each["live"] == source[key]
    assert answers != wanted


def answers_of(loaded: Loaded, rows: np.ndarray, scores: np.ndarray) -> dict[tuple[str, ...], float]:
    return expected(loaded, "production", rows[: len(scores)], scores)


def test_another_life_goes_on_counting_and_the_store_has_every_row_once(
    tmp_path: Path, production: Loaded
) -> None:
    rows, scores = asked(production)
    first = build(tmp_path, FakeAccount(), production)
    arrive(first, rows, scores)
    assert first.keeper is not None
    first.keeper.run_once(wait=0.0)
    arrive(first, rows[:10], scores[:10])
    first.arrivals.distributions.settle()  # type: ignore[union-attr]  # and then it is killed
    second = build(tmp_path, FakeAccount(), production)
    arrive(second, rows[10:], scores[10:])
    work(second)
    twice = (np.concatenate([rows, rows]), np.concatenate([scores, scores]))
    wanted = expected(production, "production", *twice)
    found = page(tmp_path)
    assert {key: found[key] for key in wanted} == wanted
    document = json.loads((tmp_path / "drift.json").read_text())
    assert document["models"][0]["windows"]["start"]["rows"] == 2 * ROWS


def test_without_looks_inputs_are_counted_all_the_same(tmp_path: Path, production: Loaded) -> None:
    counting = build(tmp_path, FakeAccount(), production, looks_per_minute=0)
    rows, scores = asked(production)
    arrive(counting, rows, scores)
    work(counting)
    found = page(tmp_path)
    assert of_domain(found) == 0
    assert not any(key[0].startswith("two_sample") for key in found)
    wanted = expected(production, "production", rows, scores)
    assert {key: found[key] for key in wanted} == wanted


def test_where_production_is_unfit_the_document_says_so(tmp_path: Path) -> None:
    made = Settings.model_validate({"production": "tiny:one"})
    account = FakeAccount()
    counting = DriftBuilder(made, Environment(home=tmp_path, providers=CPU), account).unfit("it fails parity")
    assert counting.keeper is None
    document = json.loads((tmp_path / "drift.json").read_text())
    assert (document["reason"], document["models"]) == ("it fails parity", [])
    assert (tmp_path / "distributions.prom").read_bytes() == b""
    arrive(counting, np.zeros((4, 3), np.float32), np.zeros((4, 2), np.float32))
    assert dict(account.rows) == {"failed": 4}


def test_a_candidate_whose_reference_cannot_be_read_is_left_out_alone(
    tmp_path: Path, production: Loaded, tmp_path_factory: pytest.TempPathFactory
) -> None:
    broken = tiny_bundle(tmp_path_factory.mktemp("broken"), version="two")
    (broken.bundle.path / "reference.json").write_text("{}")
    counting = build(tmp_path, FakeAccount(), production, broken)
    rows, scores = asked(production)
    arrive(counting, rows, scores)
    work(counting)
    assert not counting.candidates
    found = page(tmp_path)
    wanted = expected(production, "production", rows, scores)
    assert {key: found[key] for key in wanted} == wanted


def test_files_are_for_the_service_alone(tmp_path: Path, production: Loaded) -> None:
    work(build(tmp_path, FakeAccount(), production))
    left = sorted(
        each.name for each in tmp_path.iterdir() if each.name.startswith(("distributions", "drift"))
    )
    assert len(left) == 4
    for name in left:
        assert (tmp_path / name).stat().st_mode & 0o077 == 0, name
    assert drift.drift_path(Settings(production="tiny:one"), Environment(home=tmp_path)).name in left
