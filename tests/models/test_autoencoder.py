"""The autoencoder's graph answers its own squared error, and knows a digit when it sees one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle
from models.demo import autoencoder, toy_models
from models.demo.recipe import from_sklearn
from service.adapters.onnx import open_session

Errors = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def test_the_graph_answers_the_mean_squared_difference_from_its_input() -> None:
    from sklearn.linear_model import Ridge

    rows = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    model = Ridge(alpha=20.0).fit(rows, rows)
    proto = autoencoder.measuring_error(from_sklearn(model, 5))
    session = open_session(proto.SerializeToString(), ("CPUExecutionProvider",))
    (errors,) = session.run(["error"], {"input": rows})
    assert errors.dtype == np.float32
    np.testing.assert_allclose(errors, np.square(model.predict(rows) - rows).mean(axis=1), rtol=1e-4)


@pytest.fixture(scope="module")
def errors(demo_bundle: Callable[[str], Bundle]) -> Errors:
    """Of the demo's autoencoder."""
    path = demo_bundle("digits:mlp-2").graph_path("reconstruction")
    assert path is not None
    session = open_session(path, ("CPUExecutionProvider",))
    return lambda rows: session.run(["error"], {"image": rows.reshape(-1, 1, 8, 8)})[0]


def test_the_demos_autoencoder_repeats_digits_it_never_saw_better_than_anything_else(errors: Errors) -> None:
    digits = toy_models.held_out("digits")
    shuffled = np.random.default_rng(0).permuted(digits, axis=0)
    lying = np.ascontiguousarray(digits.reshape(-1, 8, 8).transpose(0, 2, 1)).reshape(digits.shape)
    usual = errors(digits)
    assert usual.shape == (len(digits),)
    assert np.quantile(usual, 0.95) < np.median(errors(shuffled))
    assert np.quantile(usual, 0.95) < np.median(errors(lying))


def test_only_the_bundle_that_was_given_an_autoencoder_has_one(
    demo_bundle: Callable[[str], Bundle],
) -> None:
    assert demo_bundle("digits:mlp-1").graph_path("reconstruction") is None
