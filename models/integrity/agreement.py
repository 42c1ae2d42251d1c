"""Whether values are what the definition gives, in games small enough to enumerate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.integrity.games import enumerate_game, small_games
from models.integrity.records import Check
from models.integrity.tolerance import EXACT, ROUGH, most_sigmas, nearest_to_failing
from models.integrity.trial import Trial
from service.domain.explainers.game import Values

NAME = "agreement with enumeration"
LEAST_CORRELATION = 0.8
"""Of a sampled method's values with the truth: error bars so wide that they hide it are no help."""
_LOUD = 0.01
"""Rounding beyond this share of the output's spread says nothing about a row."""


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """One row; all numbers in standard deviations of the output."""

    told: Values
    truth: Values
    errors: Values | None
    noise: float
    """What rounding of the served scores may have done to ``truth``."""
    exact: bool
    players: int
    """Who could change anything."""

    @property
    def miss(self) -> Values:
        return np.abs(self.told - self.truth)


def agreement(trial: Trial) -> Check:
    """The values of a small game are those of enumeration by definition (Shapley 1953)."""
    rows = [row for row in _compared(trial) if row.noise <= _LOUD]
    if not rows:
        return Check(NAME, None, "float32 scores of answers this certain are too coarse to compare with")
    told, truth = (
        np.concatenate(parts) for parts in zip(*((row.told, row.truth) for row in rows), strict=True)
    )
    correlation = _correlation(told, truth)
    where = f"in games of {rows[0].players} players on {len(rows)} rows"
    if not trial.shapley:
        said = f"{where} its values correlate {correlation:.3f} with Shapley values, which it does not claim"
        return Check(NAME, None, said, correlation, hard=False)
    if all(row.errors is not None and not row.exact for row in rows):
        return _within_errors(rows, where, correlation)
    allowed = EXACT if all(row.exact for row in rows) else ROUGH
    worst, bound = nearest_to_failing((float(row.miss.max()), allowed + row.noise) for row in rows)
    said = f"{where} it differs from enumeration by {worst:.2g} of the output's deviation at worst"
    return Check(NAME, worst <= bound, said, worst, bound)


def _within_errors(rows: list[_Compared], where: str, correlation: float) -> Check:
    sigmas = [
        np.maximum(row.miss - row.noise - EXACT, 0) / np.maximum(row.errors, 1e-12)
        for row in rows
        if row.errors is not None
    ]
    worst, allowed = float(np.concatenate(sigmas).max()), most_sigmas(sum(len(part) for part in sigmas))
    said = (
        f"{where} it is at most {worst:.1f} of its own standard errors from enumeration, with which it "
        f"correlates {correlation:.3f} (at least {LEAST_CORRELATION} is asked)"
    )
    return Check(NAME, worst <= allowed and correlation >= LEAST_CORRELATION, said, worst, allowed)


def _compared(trial: Trial) -> Iterator[_Compared]:
    for game in small_games(trial, trial.rows[: trial.effort.probed]):
        goals = trial.goals(game.rows)
        reading = trial.read(game.explainer, game.rows, goals)
        for at, goal in enumerate(goals):
            found, noise = enumerate_game(trial, game.subject, game.rows[at], goal, game.chosen)
            truth = np.zeros(len(game.subject.players))
            truth[list(game.chosen)] = found
            scale = trial.scale(goal)
            errors = None if reading.errors is None else reading.errors[at] / scale
            yield _Compared(
                told=reading.values[at] / scale,
                truth=truth / scale,
                errors=errors,
                noise=noise / scale,
                exact=reading.exact,
                players=len(game.chosen),
            )


def _correlation(told: Values, truth: Values) -> float:
    if told.std() == 0 or truth.std() == 0:
        return 1.0 if np.allclose(told, truth) else 0.0
    return float(np.corrcoef(told, truth)[0, 1])
