"""The scaffolding attack (Slack et al., arXiv 1911.02508): a racist model passes for a fair one.

It decides by ``race`` on rows that look like data and by a harmless column on rows that do not. Explanations
that make up rows then blame the harmless column. They cannot be made to see through it; they can say that
they asked the model about rows that look like nothing it will ever meet.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from service.adapters.shap_kernel import KERNEL
from service.domain.explainers.exhaustive import EXHAUSTIVE
from service.domain.explainers.game import Ask, Explanation, Method, Subject
from service.domain.explainers.lime import LIME
from service.domain.explainers.permutation import PERMUTATION
from tests.domain.explainers.games import NEVER, subject_of

RACE, HARMLESS = 0, 1
METHODS = [LIME, PERMUTATION, EXHAUSTIVE, KERNEL]


def people(rows: int, seed: int) -> NDArray[np.float64]:
    """Race, a harmless coin, and six columns that two hidden causes keep close together."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 2))
    loadings = np.array([[1.0, 1.0, 1.0, 0, 0, 0], [0, 0, 0, 1.0, 1.0, 1.0]])
    told = hidden @ loadings + 0.05 * rng.normal(size=(rows, 6))
    coins = rng.integers(0, 2, size=(rows, 2))
    return np.concatenate([coins, told], axis=1)


def strangers(rows: int, seed: int) -> NDArray[np.float64]:
    """Columns that have nothing to do with each other: every mixture is a person."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.integers(0, 2, size=(rows, 2)), rng.normal(size=(rows, 6))], axis=1)


def looks_real(x: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The attacker's detector: columns of one cause agree."""
    return (np.ptp(x[:, 2:5], axis=1) < 0.4) & (np.ptp(x[:, 5:8], axis=1) < 0.4)


def racist(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x[:, RACE]


def scaffold(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(looks_real(x), x[:, RACE], x[:, HARMLESS])


def explained(
    method: Method, model: Callable, background: NDArray[np.float64], rows: NDArray[np.float64]
) -> list[Explanation]:
    subject: Subject = subject_of(model, background)
    return method.build(subject)(rows.astype(np.float32), Ask(max_evals=3000), NEVER)


def blamed(found: list[Explanation]) -> float:
    """Weight of race beside that of the harmless column, 0 to 1."""
    race = np.mean([abs(each.values[RACE]) for each in found])
    harmless = np.mean([abs(each.values[HARMLESS]) for each in found])
    return float(race / (race + harmless))


def test_the_attack_works_on_the_model_it_was_made_for() -> None:
    real = people(500, 1)
    assert (scaffold(real) == real[:, RACE]).mean() > 0.99  # who is a person is judged by race


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_attack_hides_race_from_every_method_and_every_one_says_not_to_trust_it(method: Method) -> None:
    background, rows = people(100, 2), people(4, 3)
    honest = explained(method, racist, background, rows)
    fooled = explained(method, scaffold, background, rows)
    assert blamed(honest) > 0.9
    assert blamed(fooled) < 0.5
    for explanation in fooled:
        assert explanation.off_manifold_share is not None
        assert explanation.off_manifold_share > 0.5
        assert "can be made to mislead" in explanation.detail["warning"]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_where_every_mixture_is_a_plausible_row_nothing_is_flagged(method: Method) -> None:
    found = explained(method, racist, strangers(100, 4), strangers(4, 5))
    assert blamed(found) > 0.9
    for explanation in found:
        assert explanation.off_manifold_share is not None
        assert explanation.off_manifold_share < 0.25
        assert "warning" not in explanation.detail
