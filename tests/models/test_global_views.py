"""The global views say what is known of models with a known answer, each time the same, and briefly."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.inspection import partial_dependence as sklearn_dependence
from sklearn.linear_model import LinearRegression
from sklearn.metrics import log_loss, r2_score, roc_auc_score

from models.bundle import Bundle
from models.effects import measure_of, partial_dependence, permutation_importance
from models.global_views import Budget, contributions, global_views, surrogate
from service.adapters.onnx import OnnxModel
from service.domain.explainers.game import Ask, Explanation, Players, Subject, Unsuitable
from service.domain.schema import Feature, FeatureBatch, ModelSpec, Schema
from tests.domain.explainers.games import linear, subject_of
from tests.models.toy_methods import ENUMERATION

WEIGHTS = np.array([3.0, 0.0, -1.0, 0.5])


def _linear(rows: int = 200) -> tuple[Subject, FeatureBatch, NDArray[np.float64]]:
    """A linear model, calibration rows and their labels with noise of deviation 1."""
    rng = np.random.default_rng(0)
    subject = subject_of(lambda x: x @ WEIGHTS, rng.normal(size=(100, 4)))
    asked = rng.normal(size=(rows, 4)).astype(np.float32)
    return subject, asked, asked @ WEIGHTS + rng.normal(size=rows)


def _binary() -> tuple[Subject, FeatureBatch, NDArray[np.intp]]:
    rng = np.random.default_rng(1)
    subject = subject_of(lambda x: x @ WEIGHTS, rng.normal(size=(100, 4)), binary=True)
    rows = rng.normal(size=(300, 4)).astype(np.float32)
    return subject, rows, (rng.random(300) < subject.predict(rows)[:, 1]).astype(np.intp)


def _by_name(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["feature"]: entry for entry in entries}


def test_the_same_model_rows_and_seed_give_the_same_document() -> None:
    subject, rows, labels = _binary()
    explain = ENUMERATION.build(subject)
    first, second, other = (
        json.dumps(
            global_views(
                subject,
                explain,
                "enumeration",
                rows,
                labels,
                seed=seed,
                budget=Budget(explained=5, scored=50),
            ),
            allow_nan=False,
        )
        for seed in (0, 0, 1)
    )
    assert first == second
    assert first != other


def test_mean_contributions_of_a_linear_model_are_in_their_intervals() -> None:
    game = linear(rows=50)

    def explain(rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        return [Explanation("known", True, "value", None, 0.0, values) for values in game.shapley(rows)]

    rng = np.random.default_rng(2)
    rows = rng.normal(size=(2000, 6)).astype(np.float32)
    truth = np.abs(game.shapley(rows)).mean(axis=0)
    covered = []
    for seed in range(30):
        told = contributions(game.subject, explain, "known", rows, seed, Budget())
        assert told["rows"] == 200
        entries = _by_name(told["features"])
        covered += [entries[f"p{at}"]["low"] <= truth[at] <= entries[f"p{at}"]["high"] for at in (0, 2, 3)]
    assert np.mean(covered) >= 0.85
    assert told["features"][-1]["feature"] == "p1"  # its weight is 0
    assert told["features"][-1]["mean_abs"] == 0


def test_a_method_that_takes_many_model_rows_explains_fewer_rows() -> None:
    subject, rows, _ = _linear()

    def explain(rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        zeros = np.zeros(4)
        return [
            Explanation("slow", False, "value", None, 0.0, zeros, zeros, rows_evaluated=10_000) for _ in rows
        ]

    told = contributions(subject, explain, "slow", rows, 0, Budget(total_evals=250_000))
    assert told["rows"] == 25
    assert told["features"][0]["mean_standard_error"] == 0


def test_what_cannot_be_explained_is_left_out_with_the_reason() -> None:
    subject, rows, labels = _linear()

    def explain(rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        raise Unsuitable("the graph is closed")

    view = global_views(subject, explain, "tree-exact", rows, labels)
    assert view["contributions"]["skipped"] == "tree-exact does not explain this model: the graph is closed"
    assert "no method" in global_views(subject, None, "", rows, labels)["contributions"]["skipped"]


def test_permutation_importance_of_a_linear_model_is_its_closed_form() -> None:
    subject, rows, labels = _linear(500)
    told = permutation_importance(subject, rows, labels, repeats=20)
    assert told["measure"] == "r2"
    entries = _by_name(told["features"])
    for name, weight, column in zip(("p0", "p1", "p2", "p3"), WEIGHTS, rows.T, strict=True):
        expected = 2 * weight**2 * column.var() / labels.var()  # shuffling doubles a column's squared share
        assert entries[name]["low"] - 0.05 <= expected <= entries[name]["high"] + 0.05
    assert entries["p1"]["drop"] == 0
    assert [entry["feature"] for entry in told["features"][:2]] == ["p0", "p2"]


def test_a_useless_columns_interval_holds_nought_and_a_strong_ones_does_not() -> None:
    subject, rows, labels = _binary()
    told = permutation_importance(subject, rows, labels)
    entries = _by_name(told["features"])
    assert told["measure"] == "auc"
    assert entries["p1"]["low"] <= 0 <= entries["p1"]["high"]
    assert entries["p0"]["low"] > 0.1


def test_the_measures_are_what_others_call_by_their_names() -> None:
    subject, rows, labels = _binary()
    scores = subject.predict(rows)
    auc = measure_of(subject.spec, labels)
    above, below = auc.parts(scores[None])
    assert above.mean() == pytest.approx(roc_auc_score(labels, scores[:, 1]), abs=1e-12)
    assert below.mean() == pytest.approx(above.mean(), abs=1e-12)
    several = ModelSpec("m", "1", "multiclass", subject.spec.schema, ("a", "b", "c"))
    shares = np.random.default_rng(0).dirichlet([1, 1, 1], size=300).astype(np.float32)
    classes = np.random.default_rng(1).integers(0, 3, 300)
    loss = measure_of(several, classes)
    assert loss.sign * loss.parts(shares[None])[0].mean() == pytest.approx(
        log_loss(classes, shares), rel=1e-5
    )
    regression, asked, values = _linear()
    r2 = measure_of(regression.spec, values)
    told = regression.predict(asked)
    assert r2.parts(told[None])[0].mean() == pytest.approx(r2_score(values, told[:, 0]), abs=1e-9)


def test_one_class_alone_is_measured_by_log_loss() -> None:
    subject, rows, _ = _binary()
    told = permutation_importance(subject, rows, np.ones(len(rows), dtype=np.intp))
    assert told["measure"] == "log_loss"


def test_an_aucs_interval_covers_its_own_spread() -> None:
    subject = _binary()[0]
    drops, widths = [], []
    for seed in range(40):
        rng = np.random.default_rng([7, seed])
        asked = rng.normal(size=(150, 4)).astype(np.float32)
        labels = (rng.random(150) < subject.predict(asked)[:, 1]).astype(np.intp)
        entry = _by_name(permutation_importance(subject, asked, labels, seed=seed)["features"])["p2"]
        drops.append(entry["drop"])
        widths.append((entry["high"] - entry["low"]) / (2 * 1.96))
    assert 0.7 < np.mean(widths) / np.std(drops) < 1.5


def test_partial_dependence_agrees_with_an_independent_one() -> None:
    subject, _, _ = _linear()
    model = LinearRegression().fit(np.eye(4), WEIGHTS)
    model.coef_, model.intercept_ = WEIGHTS, 0.0
    told = partial_dependence(subject, most=100)
    for index, entry in enumerate(told["features"]):
        assert len(entry["grid"]) <= 20
        grid = [value for value in entry["grid"] if value is not None]
        oracle = sklearn_dependence(
            model, subject.background.astype(np.float64), [index], custom_values={index: np.array(grid)}
        )
        np.testing.assert_allclose(
            entry["averages"][0]["values"][: len(grid)], oracle["average"][0], rtol=2e-3, atol=2e-3
        )
        curves = np.array([curve[: len(grid)] for curve in entry["curves"]["values"]])
        slopes = np.diff(curves, axis=1) / np.diff(grid)
        np.testing.assert_allclose(slopes, WEIGHTS[index], atol=0.35)  # four digits of each value
    assert len(told["features"][0]["curves"]["values"]) == 20


def test_categories_and_missing_values_have_their_place_on_the_grid() -> None:
    homes = ("owner", "rent")
    schema = Schema((Feature("Home", "string", homes, missing=True), Feature("Age", "int64")), "columns")

    def predict(rows: FeatureBatch) -> NDArray[np.float32]:
        return np.where(np.isnan(rows[:, 0]), 7.0, 10 * rows[:, 0])[:, None].astype(np.float32)

    rng = np.random.default_rng(0)
    background = np.column_stack([rng.integers(0, 2, 50), rng.integers(18, 80, 50)]).astype(np.float64)
    players = Players(schema.names(), (np.array([0]), np.array([1])))
    subject = Subject(ModelSpec("m", "1", "regression", schema), predict, background, players)
    home, age = partial_dependence(subject)["features"]
    assert home["grid"] == ["owner", "rent", None]
    assert home["averages"] == [{"output": "value", "label": None, "values": [0.0, 10.0, 7.0]}]
    assert all(isinstance(value, int) for value in age["grid"])
    assert age["grid"] == sorted(set(age["grid"]))


def test_a_binary_models_dependence_comes_as_margin_and_probability() -> None:
    subject, _, _ = _binary()
    entry = partial_dependence(subject)["features"][0]
    assert [(part["output"], part["label"]) for part in entry["averages"]] == [
        ("margin", "yes"),
        ("probability", "yes"),
    ]
    *shares, missing = entry["averages"][1]["values"]
    assert all(0 <= share <= 1 for share in shares)
    assert missing is None  # the schema allows it, and this model answers no number
    assert set(entry["curves"]["labels"]) == {"yes"}


def test_the_surrogate_says_how_faithful_it_is() -> None:
    rng = np.random.default_rng(0)
    background = rng.uniform(size=(300, 3))
    steps = subject_of(lambda x: 4.0 * (x[:, 0] > 0.5) - 2, background, binary=True)
    rows = rng.uniform(size=(200, 3)).astype(np.float32)
    told = surrogate(steps, rows)
    assert told["fidelity"]["r2"] > 0.95
    assert told["fidelity"]["agreement"] > 0.98
    assert len(told["rules"]) == 2
    assert sum(rule["share"] for rule in told["rules"]) == pytest.approx(1, abs=1e-4)
    assert {rule["label"] for rule in told["rules"]} == {"no", "yes"}
    waves = subject_of(lambda x: np.sin(40 * x).sum(axis=1), background)
    assert surrogate(waves, rows)["fidelity"]["r2"] < 0.5


def _wide(columns: int) -> tuple[Subject, FeatureBatch, NDArray[np.intp]]:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=columns)
    subject = subject_of(lambda x: x @ weights, rng.normal(size=(1000, columns)), binary=True)
    rows = rng.normal(size=(400, columns)).astype(np.float32)
    return subject, rows, (subject.predict(rows)[:, 1] > 0.5).astype(np.intp)


def test_thirty_columns_stay_below_300_kilobytes() -> None:
    subject, rows, labels = _wide(30)
    assert len(json.dumps(global_views(subject, None, "", rows, labels))) < 300_000


def test_slots_are_kept_for_what_others_measure() -> None:
    subject, rows, labels = _linear()
    view = global_views(
        subject, None, "", rows, labels, prototypes={"prototypes": []}, activation={"images": []}
    )
    assert view["prototypes"] == {"prototypes": []}
    assert view["activation"] == {"images": []}


def test_an_image_is_seen_by_its_players_and_no_pixel_is_varied_alone() -> None:
    rng = np.random.default_rng(0)
    schema = Schema((), "image", (1, 4, 4))
    weights = np.zeros((16, 3))
    weights[:8, 0], weights[8:, 1] = 1, 1

    def predict(rows: FeatureBatch) -> NDArray[np.float32]:
        raw = np.exp(rows @ weights)
        return (raw / raw.sum(axis=1, keepdims=True)).astype(np.float32)

    players = Players(("top", "bottom"), (np.arange(8), np.arange(8, 16)))
    background = rng.uniform(size=(200, 16)).astype(np.float32)
    spec = ModelSpec("m", "1", "multiclass", schema, ("a", "b", "c"))
    subject = Subject(spec, predict, background, players)
    rows = rng.uniform(size=(60, 16)).astype(np.float32)
    view = global_views(subject, None, "", rows, predict(rows).argmax(axis=1))
    assert "pixel" in view["partial_dependence"]["skipped"]
    assert {entry["feature"] for entry in view["permutation_importance"]["features"]} == {"top", "bottom"}
    assert all(" <= " in rule["if"] or " > " in rule["if"] for rule in view["surrogate"]["rules"])


@pytest.mark.parametrize("tag", ["credit:gbm-1", "diabetes:gbr-1"])
def test_the_demo_models_views_are_whole(demo_bundle: Callable[[str], Bundle], tag: str) -> None:
    bundle = demo_bundle(tag)
    spec = bundle.spec
    model = OnnxModel(bundle.model_path, spec, bundle.binding, providers=("CPUExecutionProvider",))
    columns = tuple(np.array([index]) for index in range(spec.schema.width))
    subject = Subject(spec, model.predict, bundle.background(), Players(spec.schema.names(), columns))
    rows, _, labels = bundle.calibration()
    view = global_views(subject, None, "", rows, labels)
    assert len(json.dumps(view, allow_nan=False)) < 300_000
    assert view["surrogate"]["fidelity"]["r2"] > 0.5
    assert view["permutation_importance"]["features"][0]["low"] > 0
    assert [entry["feature"] for entry in view["partial_dependence"]["features"]] == list(spec.schema.names())
