"""The mean over all background rows of what was measured beside some of them, with its standard error.

What a player contributes beside one background row depends mostly on that row, and much of the dependence is
known without running the model again: an additive fit of the scores of *all* background rows says what each
row's columns are worth. The fit and its residual are control variates (survey sampling's regression
estimator: Särndal, Swensson & Wretman, Model Assisted Survey Sampling, 1992, chapter 6). On the demo models
this takes two thirds off the error at the same number of model rows. However bad the fit is, the estimate
stays consistent; and it adds up exactly: contributions beside a row b sum to f(x) - f(b), the controls sum
to the mean of f minus f(b), and regressing on anything keeps sums.

Errors are those of a finite population: none is left from rows once all were used equally often. The part of
the variance that comes from permutations is told from the part that comes from rows by rows drawn twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from service.domain.explainers.game import Subject, Values
from service.domain.schema import FeatureBatch

KNOTS = 8
"""Of the piecewise linear fit to one player; fewer where the background has few rows."""
SMOOTHING = 0.001
"""Ridge penalty of the fit's coefficients, as a share of a regressor's typical sum of squares."""
PRIOR_DRAWS = 30.0
"""Ridge penalty of the regression on the controls: what it would take that many draws to overrule."""
LEVERAGE_POWER = 0.85
"""How residuals make up for having been fitted: between HC2 (0.5, too narrow where many regressors meet few
draws of heavy tails) and HC3 (1, too wide); chosen for coverage on the demo models."""
FEWEST_REPEATS = 4
"""Rows drawn again without which noise is not told from differences between rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Controls:
    """What is known of every background row."""

    columns: NDArray[np.float64]
    """Standardised regressors, [background rows, regressors]; each has mean 0."""
    offsets: NDArray[np.float64]
    """First guess of each player's contribution, up to a constant, [background rows, players]; mean 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Average:
    """A mean over the background, one number for each player."""

    values: Values
    standard_errors: Values
    """Of ``values`` as an estimate of the mean over all rows of this background; times 1.96 they give a 95%
    interval, also after few draws, for which they are widened by Student's t."""
    background_standard_errors: Values
    """Of the mean over all rows of this background as an estimate for the data it was drawn from."""


def controls_of(subject: Subject, scores: Values) -> Controls:
    """An additive fit of the explained number of the background rows.

    Args:
        subject: gives the background and the players.
        scores: the explained number of each background row, [background rows].
    """
    rows = len(scores)
    knots = int(np.clip(rows // (2 * len(subject.players)), 2, KNOTS))
    bases = [_basis(_summary(subject.background[:, own]), knots) for own in subject.players.columns]
    design = np.concatenate(bases, axis=1)
    target = scores - scores.mean()
    penalty = SMOOTHING * rows * max(float(design.var()), 1e-12) * np.eye(design.shape[1])
    weights = np.linalg.solve(design.T @ design + penalty, design.T @ target)
    ends = np.cumsum([basis.shape[1] for basis in bases])
    fitted = np.stack(
        [basis @ part for basis, part in zip(bases, np.split(weights, ends[:-1]), strict=True)],
        axis=1,
    )
    residual = target - fitted.sum(axis=1)
    columns = np.column_stack([fitted, residual])
    spread, size = columns.std(axis=0), float(np.abs(scores).max())
    columns = columns / np.where(spread > 1e-9 * max(size, 1e-300), spread, np.inf)  # else it is rounding
    return Controls(columns, -fitted - residual[:, None] / fitted.shape[1])


def average(
    shares: NDArray[np.float64], drawn: NDArray[np.intp], controls: Controls, noiseless: bool = False
) -> Average:
    """The mean over the background of each player's contribution.

    Args:
        shares: contributions measured beside the drawn rows, [draws, players], at least 2 draws.
        drawn: the background row of each draw, [draws].
        controls: what is known of every background row.
        noiseless: whether a contribution depends on its row alone, and on no permutation.
    """
    draws, rows = len(drawn), len(controls.columns)
    rest = shares - controls.offsets[drawn]
    design = np.column_stack([np.ones(draws), controls.columns[drawn]])
    penalty = np.full(design.shape[1], PRIOR_DRAWS)
    penalty[0] = 0
    solved = np.linalg.solve(design.T @ design + np.diag(penalty), design.T)  # [regressors, draws]
    leverage = np.einsum("ij,ji->i", design, solved)
    fitting = np.maximum(1 - leverage, 1e-9) ** LEVERAGE_POWER
    residuals = (rest - design @ (solved @ rest)) / fitting[:, None]
    weights = solved[0]  # of each draw in the prediction at the controls' mean, which is 0
    by_row = np.bincount(drawn, weights=weights, minlength=rows)
    found = _split(residuals, drawn, draws - 1, noiseless)
    noise = found.noise * float(weights @ weights)
    between = found.between + _correction(found.noise + found.between, drawn, controls)
    between = np.maximum(between, 0) * max(float(by_row @ by_row) - 1 / rows, 0.0)
    raw = (shares - shares.mean(axis=0)) * np.sqrt(draws / (draws - 1))
    return Average(
        weights @ rest,
        found.widening(noise, between) * np.sqrt(noise + between),
        np.sqrt(_split(raw, drawn, draws - 1, noiseless).spread / rows),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Variances:
    """Of one draw, [players]: ``noise`` where the row stays the same, ``between`` over rows."""

    noise: Values
    between: Values
    noise_freedom: float
    freedom: float
    """Degrees of freedom of each."""
    told_apart: bool

    @property
    def spread(self) -> Values:
        """Over rows; an upper bound where it could not be told from noise."""
        return self.between if self.told_apart else self.noise

    def widening(self, noise: Values, between: Values) -> Values:
        """Student's quantile by the normal one, with Satterthwaite's degrees of freedom."""
        parts = noise**2 / self.noise_freedom + between**2 / self.freedom
        freedom = np.where(parts > 0, (noise + between) ** 2 / np.where(parts > 0, parts, 1), self.freedom)
        wider: Values = stdtrit(np.maximum(freedom, 1), 0.975) / ndtri(0.975)
        return wider


def _correction(variance: Values, drawn: NDArray[np.intp], controls: Controls) -> Values:
    """What is to be added to the variance over rows because the drawn rows are not quite like all, [players].

    A value that few rows have may be in none of the drawn ones, which then agree too well. How much the first
    guesses vary over the drawn rows and over all is known, and so is which part of such variance the
    regression leaves, over all players. At most a third of the variance is taken away.
    """
    shown = (controls.offsets[drawn] ** 2).mean(axis=0)
    left = float(variance.sum()) / max(float(shown.sum()), 1e-300)
    lacking: Values = left * ((controls.offsets**2).mean(axis=0) - shown)
    return np.maximum(lacking, -variance / 3)


def _split(
    residuals: NDArray[np.float64], drawn: NDArray[np.intp], freedom: float, noiseless: bool
) -> _Variances:
    """Tells noise from differences between rows by the rows that were drawn more than once."""
    total = (residuals**2).mean(axis=0)
    freedom = max(freedom, 1.0)
    if noiseless:
        return _Variances(np.zeros_like(total), total, freedom, freedom, True)
    rows, group, counts = np.unique(drawn, return_inverse=True, return_counts=True)
    repeats = len(drawn) - len(rows)
    if repeats < FEWEST_REPEATS:
        return _Variances(total, np.zeros_like(total), freedom, freedom, False)
    sums = np.zeros((len(rows), residuals.shape[1]))
    np.add.at(sums, group, residuals)
    within = ((residuals - (sums / counts[:, None])[group]) ** 2).sum(axis=0) / repeats
    return _Variances(within, np.maximum(total - within, 0), float(repeats), freedom, True)


def _summary(columns: FeatureBatch) -> NDArray[np.float64]:
    """One number for what a player has in each row, [rows]; NaN where every column is."""
    known = ~np.isnan(columns)
    total = np.where(known, columns, 0).sum(axis=1, dtype=np.float64)
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)


def _basis(column: NDArray[np.float64], knots: int) -> NDArray[np.float64]:
    """Centred regressors for one column: its levels where they are few, else hats at quantiles."""
    missing = np.isnan(column)
    known = column[~missing]
    levels = np.unique(known)
    if len(levels) <= 2 * knots:
        parts = [column == level for level in levels[1:]]
    else:
        at = np.unique(np.quantile(known, np.linspace(0, 1, knots)))
        hats = np.eye(len(at))[1:]
        parts = [np.where(missing, 0, np.interp(np.where(missing, at[0], column), at, hat)) for hat in hats]
    basis = np.array([*parts, missing], dtype=np.float64).T
    centred: NDArray[np.float64] = basis - basis.mean(axis=0)
    return centred
