"""The best method that can is chosen, one that cannot says why, and a forbidden one is not offered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

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
from service.domain.schema import FeatureBatch, Scores
from tests.domain.models import spec

ROWS = np.zeros((1, 3), np.float32)


def scores(rows: FeatureBatch) -> Scores:
    return np.full((len(rows), 2), 0.5, np.float32)


SUBJECT = Subject(spec(), scores, ROWS, Players(("a", "b", "c"), tuple(np.array([i]) for i in range(3))))


def method(name: str, refuses: str | None = None, only: str | None = None) -> Method:
    def build(subject: Subject) -> Explainer:
        if refuses is not None:
            raise Unsuitable(refuses)

        def explain(rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
            if only is not None and ask.output not in (None, only):
                raise Unsuitable(f"{name} explains the {only}")
            return [Explanation(name, True, "margin", 1, 0.0, np.zeros(3))]

        return explain

    return Method(name, build)


def explained_by(*methods: Method, ask: Ask) -> str:
    (found,) = offer(SUBJECT, methods).explain(ROWS, ask, 0.0)
    return found.method


def test_auto_prefers_exact_methods_whatever_the_order_they_are_listed_in() -> None:
    assert (
        explained_by(method("permutation"), method("lime"), method("tree-exact"), ask=Ask()) == "tree-exact"
    )
    assert explained_by(method("permutation"), method("exhaustive"), ask=Ask()) == "exhaustive"


def test_auto_passes_over_a_method_that_cannot_explain_the_output() -> None:
    methods = method("tree-exact", only="margin"), method("permutation")
    assert explained_by(*methods, ask=Ask(output="probability")) == "permutation"
    assert explained_by(*methods, ask=Ask(output="margin")) == "tree-exact"


def test_a_method_that_is_named_is_used_or_says_why_not() -> None:
    methods = (
        method("tree-exact", only="margin"),
        method("permutation"),
        method("lime", refuses="too many pixels"),
    )
    assert explained_by(*methods, ask=Ask("permutation")) == "permutation"
    with pytest.raises(Unsuitable, match="tree-exact explains the margin"):
        explained_by(*methods, ask=Ask("tree-exact", output="probability"))
    with pytest.raises(Unsuitable, match="lime cannot explain m:prod: too many pixels"):
        explained_by(*methods, ask=Ask("lime"))
    with pytest.raises(
        Unsuitable, match="no method 'shapley'; there are auto, lime, permutation, tree-exact"
    ):
        explained_by(*methods, ask=Ask("shapley"))


def test_of_two_methods_with_one_name_the_second_steps_in() -> None:
    found = offer(SUBJECT, [method("tree-exact", refuses="too large"), method("tree-exact")])
    assert list(found.explainers) == ["tree-exact"]
    assert found.refused == {}
    neither = offer(
        SUBJECT, [method("tree-exact", refuses="too large"), method("tree-exact", refuses="too deep")]
    )
    assert neither.refused == {"tree-exact": "too large; too deep"}


def test_a_forbidden_method_is_refused_with_its_reason() -> None:
    found = offer(SUBJECT, [method("lime"), method("permutation")], {"lime": "it failed its integrity gate"})
    assert list(found.explainers) == ["permutation"]
    with pytest.raises(Unsuitable, match="failed its integrity gate"):
        found.chosen(Ask("lime"))


def test_a_method_that_breaks_on_a_model_takes_no_other_with_it_where_somebody_is_told() -> None:
    def build(subject: Subject) -> Explainer:
        raise ZeroDivisionError("a graph like no other")

    told: list[str] = []
    methods = [Method("tree-exact", build), method("permutation")]
    found = offer(SUBJECT, methods, broken=lambda name, error: told.append(f"{name}: {error}"))
    assert told == ["tree-exact: a graph like no other"]
    assert found.chosen(Ask()) == "permutation"
    assert "a graph like no other" in found.refused["tree-exact"]
    with pytest.raises(ZeroDivisionError):
        offer(SUBJECT, methods)


def test_gradients_are_chosen_for_images_only() -> None:
    methods = [method("permutation"), method("integrated-gradients")]
    assert offer(SUBJECT, methods).chosen(Ask()) == "permutation"
    schema = replace(SUBJECT.spec.schema, features=(), layout="image", shape=(1, 3))
    image = replace(SUBJECT, spec=replace(SUBJECT.spec, schema=schema))
    assert offer(image, methods).chosen(Ask()) == "integrated-gradients"


def test_where_nothing_divides_a_score_it_is_said() -> None:
    with pytest.raises(Unsuitable, match="no method that divides a score can explain m:prod"):
        offer(SUBJECT, [method("anchor")]).explain(ROWS, Ask(), 0.0)
