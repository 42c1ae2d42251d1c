"""The Explainer's side: rows are explained in time, told, written as asked, and remembered."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from service.adapters.cache import ReplyCache
from service.domain.errand import Errand, Reply
from service.domain.explainers.document import Narrator, Wish
from service.domain.explainers.game import (
    Ask,
    Explainer,
    Explanation,
    Method,
    Players,
    Subject,
    Unsuitable,
)
from service.domain.explainers.offer import offer
from service.domain.explainers.pair import pair
from service.domain.schema import Feature, FeatureBatch, ModelSpec, Schema, Scores
from service.errors import BundleError, BusyError, DeadlineError
from service.paths.explainer import TELLING, TURN, Compared, Explainable, ExplainerPath

FEATURES = (Feature("a", "float"), Feature("b", "float"))
SPEC = ModelSpec("m", "prod", "binary", Schema(FEATURES, "tensor"), ("no", "yes"))
PLAYERS = Players(("a", "b"), (np.array([0]), np.array([1])))
ROWS = np.array([[1, 2], [3, 4]], np.float32)


def weighted(*weights: float) -> Any:
    """A model whose log-odds are a weighted sum."""

    def predict(rows: FeatureBatch) -> Scores:
        odds = np.exp(rows @ np.array(weights))
        return np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1).astype(np.float32)

    return predict


@dataclass
class Methods:
    """Methods that multiply rows by weights, and note how they were called."""

    calls: list[tuple[str, int, float]] = field(default_factory=list)
    degraded: str | None = None

    def method(self, name: str, weights: dict[str, Any], quick: bool = False) -> Method:
        def build(subject: Subject) -> Explainer:
            def explain(rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
                self.calls.append((name, len(rows), due - time.monotonic()))
                values = rows.astype(np.float64) * weights[subject.spec.version]
                return [
                    Explanation(name, quick, "margin", 1, 0.0, row, degraded=self.degraded) for row in values
                ]

            return explain

        return Method(name, build, quick=quick)


class World:
    """Production (weights 1, 1) and a candidate (weights 1, 3)."""

    def __init__(self, quick: bool = True, cache: int = 1 << 20) -> None:
        self.methods = Methods()
        self.weights = {"prod": np.array([1.0, 1.0]), "new": np.array([1.0, 3.0])}
        name = "tree-exact" if quick else "permutation"
        self.known = [self.methods.method(name, self.weights, quick)]
        self.fault: Exception | None = None
        self.path = ExplainerPath(
            self,
            ReplyCache(cache),
            write={"svg": lambda response, rows: json.dumps(response).encode()},
            write_comparison={"html": lambda response, rows: b"<html>"},
        )

    def subject(self, version: str) -> Subject:
        weights = self.weights[version]
        return Subject(replace(SPEC, version=version), weighted(*weights), ROWS * 0, PLAYERS)

    def own(self, tag: str) -> Explainable:
        if self.fault is not None:
            raise self.fault
        version = tag.partition(":")[2]
        found = offer(self.subject(version), self.known)
        return Explainable(found, self.narrator(version), lambda rows: rows)

    def narrator(self, version: str) -> Narrator:
        return Narrator(replace(SPEC, version=version), PLAYERS, 2, "sha256:b", None)

    def beside_production(self, tag: str, method: str) -> Compared:
        found = pair(
            offer(self.subject("prod"), self.known),
            self.subject("new"),
            lambda rows: rows,
            self.known,
            max_evals=100,
        )
        return Compared(found, self.narrator("prod"), self.narrator("new"))

    def work(self, seconds: float = 5.0, model: str = "m:prod", rows: Any = ROWS, **wish: Any) -> Reply:
        asked = Wish(**wish)
        errand = Errand(model, rows, asked, "an id", "production", time.monotonic() + seconds)
        return self.path.work(errand)


def test_each_row_gets_its_document() -> None:
    reply = World().work()
    assert (reply.status, reply.method) == ("done", "tree-exact")
    assert [json.loads(document)["values"] for document in reply.documents] == [
        {"a": 1.0, "b": 2.0},
        {"a": 3.0, "b": 4.0},
    ]


def test_a_quick_method_takes_all_rows_at_once_and_a_slow_one_shares_the_time() -> None:
    quick, slow = World(), World(quick=False)
    quick.work()
    assert [rows for _, rows, _ in quick.methods.calls] == [2]
    slow.work(seconds=4.0)
    assert [rows for _, rows, _ in slow.methods.calls] == [1, 1]
    assert slow.methods.calls[0][2] == pytest.approx(2.0, abs=0.5)
    assert slow.methods.calls[1][2] == pytest.approx(4.0, abs=0.5)


def test_the_same_question_is_answered_from_memory_whoever_asks_and_another_is_not() -> None:
    world = World()
    first = world.work()
    again = world.work(deadline=0.3)
    assert again._replace(seconds=first.seconds) == first
    assert again.seconds < 1  # what it took this time
    assert len(world.methods.calls) == 1
    for other in (
        {"rows": ROWS + 1},
        {"model": "m:new"},
        {"ask": Ask(seed=1)},
        {"top": 1},
        {"neighbours": 1},
    ):
        world.work(**other)  # type: ignore[arg-type]  # one argument at a time
    assert len(world.methods.calls) == 6


def test_what_fell_short_is_not_remembered() -> None:
    world = World()
    world.methods.degraded = "only 10 of 4,000 rows in time"
    world.work()
    world.work()
    assert len(world.methods.calls) == 2


def test_a_picture_gets_the_whole_response_with_the_prediction() -> None:
    reply = World().work(form="svg")
    assert reply.content_type == "image/svg+xml"
    response = json.loads(reply.documents[0])
    assert response["model"] == {"name": "m", "version": "prod", "arm": "production"}
    assert response["explanations"][0]["prediction"]["label"] == "yes"
    assert sum(response["explanations"][0]["prediction"]["probabilities"].values()) == pytest.approx(1)


def test_a_picture_explains_the_row_it_shows_and_no_other() -> None:
    world = World()
    world.work(form="svg")
    assert [rows for _, rows, _ in world.methods.calls] == [1]


def test_a_method_has_to_be_done_while_there_is_time_to_tell() -> None:
    for seconds in (0.2, 10.0):
        world = World()
        world.work(seconds=seconds)
        ((_, _, left),) = world.methods.calls
        assert 0 < seconds - left == pytest.approx(min(TELLING, seconds / 4), abs=0.1)


def test_models_can_ask_for_whom_they_work() -> None:
    world, seen = World(), []

    def own(tag: str) -> Explainable:
        seen.append(TURN.get())
        raise Unsuitable("that is all")

    world.own = own  # type: ignore[method-assign]  # looks into the middle of an errand
    errand = Errand("m:prod", ROWS, Wish(), "an id", "production", time.monotonic() + 5)
    world.path.work(errand, lambda: False)
    (turn,) = seen
    assert turn is not None
    assert (turn.due, turn.wanted()) == (errand.due, False)
    assert TURN.get() is None


def test_a_comparison_names_the_features_whose_share_of_the_influence_moved() -> None:
    reply = World().work(against="m:new")
    (page,) = reply.documents
    response = json.loads(page)
    assert response["production"]["model"]["version"] == "prod"
    assert response["candidate"]["model"]["version"] == "new"
    first, _ = response["comparisons"]  # shares 1/3, 2/3 against 1/7, 6/7
    assert first["distance"] == pytest.approx(4 / 21)
    assert first["moved"][0]["production"] == pytest.approx(1 / 3)
    assert first["moved"][0]["candidate"] == pytest.approx(1 / 7)
    assert World().work(against="m:new", form="html").documents == [b"<html>"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Unsuitable("it is too large"), "unsuitable"),
        (DeadlineError("it took too long"), "late"),
        (BusyError("it is being prepared"), "busy"),
        (BundleError("it is damaged"), "failed"),
        (ZeroDivisionError(), "failed"),
    ],
)
def test_whatever_goes_wrong_is_a_reply_with_its_reason_and_is_tried_again(
    fault: Exception, status: str
) -> None:
    world = World()
    world.fault = fault
    reply = world.work()
    assert reply.status == status
    assert (str(fault) or "ZeroDivisionError") in reply.reason
    world.fault = None
    assert world.work().status == "done"


@pytest.mark.parametrize("fault", [BundleError("it is damaged"), ZeroDivisionError()])
def test_the_log_says_for_which_request_it_failed(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.fault = fault
    world.work()
    assert "(request an id)" in caplog.text


def test_rows_that_no_time_is_left_for_are_late() -> None:
    assert World(quick=False).work(seconds=-0.1).status == "late"
