"""Activation maximisation on pictures whose best one is known, and on the demo's digits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from models.activation import activation_maximisation
from models.bundle import Bundle
from models.gradients import build_gradient
from service.adapters.gradients import OnnxGradient
from service.adapters.onnx import OnnxModel
from service.domain.explainers.game import Subject, Unsuitable
from service.domain.explainers.image_players import players_of
from tests.domain.explainers.networks import Network, picture, table, with_gradient

CPU = ("CPUExecutionProvider",)


def halves() -> Subject:
    """Class 1 likes the left half of a picture bright and the right half dark, class 0 the opposite."""
    plain = picture((1, 6, 6), classes=2)
    side = np.where(np.arange(36) % 6 < 3, 1.0, -1.0)[:, None] / 18
    network = Network(side, np.array([[-4.0, 4.0]]), 2)
    return with_gradient(Subject(plain.spec, network.predict, plain.background, plain.players), network)


def test_each_class_gets_the_picture_it_likes_best() -> None:
    found = activation_maximisation(halves())
    dark, bright = found.images.reshape(2, 6, 6)
    assert bright[:, :2].min() > bright[:, 4:].max() + 0.5
    assert dark[:, 4:].min() > dark[:, :2].max() + 0.5
    assert (found.margins > found.started_at + 3).all()
    assert (found.scores > 0.9).all()


def test_pictures_stay_within_what_the_background_has_and_are_the_same_each_time() -> None:
    subject = picture((3, 5, 4), classes=3)
    once, again = activation_maximisation(subject, seed=1), activation_maximisation(subject, seed=1)
    np.testing.assert_array_equal(once.images, again.images)
    assert once.images.shape == (3, 60)
    assert once.images.min() >= subject.background.min()
    assert once.images.max() <= subject.background.max()
    assert (once.margins >= once.started_at).all()


def test_margins_are_log_odds_also_where_methods_explain_probabilities() -> None:
    subject = picture()
    plain, own = (activation_maximisation(replace(subject, output=each)) for each in (None, "probability"))
    np.testing.assert_array_equal(plain.margins, own.margins)
    np.testing.assert_array_equal(plain.started_at, own.started_at)


def test_a_regression_model_gets_one_picture_of_high_value() -> None:
    found = activation_maximisation(picture(classes=0))
    assert found.images.shape == (1, 36)
    assert found.margins[0] > found.started_at[0]
    document = found.as_document((), (1, 6, 6))
    assert [entry["label"] for entry in document["classes"]] == ["value"]


def test_what_is_no_picture_or_has_no_gradient_is_refused() -> None:
    for subject in (table(), with_gradient(picture(), None)):
        with pytest.raises(Unsuitable, match="picture"):
            activation_maximisation(subject)


def test_the_digits_model_is_sure_of_every_picture_made_for_it(
    demo_bundle: Callable[[str], Bundle],
) -> None:
    bundle = demo_bundle("digits:mlp-1")
    spec, background = bundle.spec, bundle.background()
    graph, _ = build_gradient(bundle.model_path, spec, bundle.binding, background)
    model = OnnxModel(bundle.model_path, spec, bundle.binding, providers=CPU)
    gradient = OnnxGradient(graph, spec, bundle.binding, CPU)
    subject = Subject(spec, model.predict, background, players_of(spec), gradient=gradient)
    found = activation_maximisation(subject)
    assert model.predict(found.images).argmax(axis=1).tolist() == list(range(10))
    assert (found.scores > 0.9).all()
    document = found.as_document(spec.classes, spec.schema.shape)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert len(document["classes"][3]["pixels"]) == 64
