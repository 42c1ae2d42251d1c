"""MAPIE's and crepes' conformal regions from scores that a model has given already.

MAPIE wants a model to call; the one that it gets hands its rows back, since the rows are the scores.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from service.domain.uncertainty.aps import likelier_mass
from service.domain.uncertainty.conformal import part
from service.domain.uncertainty.lac import unlikeliness
from service.domain.uncertainty.measure import Columns, Material

with warnings.catch_warnings():  # on import they use what others have deprecated
    warnings.simplefilter("ignore")
    from crepes import ConformalClassifier, ConformalRegressor
    from crepes.extras import DifficultyEstimator
    from mapie.classification import SplitConformalClassifier
    from mapie.regression import ConformalizedQuantileRegressor, SplitConformalRegressor

Floats = NDArray[np.float64]
Labels = NDArray[np.intp]
Sets = NDArray[np.bool_]


class Probabilities(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Takes probabilities, [rows, classes], and answers them."""

    def __init__(self, classes: int = 2) -> None:
        self.classes = classes
        self.classes_ = np.arange(classes)

    def fit(self, rows: Floats, labels: Labels) -> Probabilities:  # noqa: ARG002 - MAPIE asks for the method
        return self

    def predict(self, rows: Floats) -> Labels:
        found: Labels = rows.argmax(axis=1)
        return found

    def predict_proba(self, rows: Floats) -> Floats:
        return rows


class Values(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Takes rows of values and answers one column."""

    def __init__(self, column: int = 0) -> None:
        self.column = column
        self.fitted_ = True

    def fit(self, rows: Floats, values: Floats) -> Values:  # noqa: ARG002 - MAPIE asks for the method
        return self

    def predict(self, rows: Floats) -> Floats:
        return rows[:, self.column]


class Fixed(np.random.RandomState):
    """Draws the same number always."""

    def __init__(self, number: float) -> None:
        super().__init__(0)
        self.number = number

    def uniform(self, *_: Any, size: Any = None, **__: Any) -> Any:
        return np.full(size, self.number)


def mapie_sets(
    known: Floats, labels: Labels, new: Floats, confidence: float, score: str = "lac", draw: Any = 0
) -> Sets:
    """Label sets of MAPIE; ``draw`` is its ``random_state``."""
    classifier = SplitConformalClassifier(
        Probabilities(known.shape[1]), confidence, conformity_score=score, prefit=True, random_state=draw
    )
    _, sets = classifier.conformalize(known, labels).predict_set(new)
    return np.asarray(sets[:, :, 0], dtype=np.bool_)


def mapie_intervals(known: Floats, values: Floats, new: Floats, confidence: float) -> Floats:
    """Intervals of MAPIE by the absolute residual, [rows, 2]; served values are [rows, 1]."""
    regressor = SplitConformalRegressor(Values(), confidence, conformity_score="absolute", prefit=True)
    _, intervals = regressor.conformalize(known, values).predict_interval(new)
    return np.asarray(intervals[:, :, 0], dtype=np.float64)


def mapie_quantile_intervals(known: Floats, values: Floats, new: Floats, confidence: float) -> Floats:
    """Conformalised quantile regression of MAPIE, [rows, 2]; rows are two quantiles, [rows, 2]."""
    known, new = (np.column_stack([rows, rows.mean(axis=1)]) for rows in (known, new))
    models = [Values(0), Values(1), Values(2)]  # the third answers points, which are not looked at
    regressor = ConformalizedQuantileRegressor(models, confidence, prefit=True).conformalize(known, values)
    _, intervals = regressor.predict_interval(new, symmetric_correction=True)
    return np.asarray(intervals[:, :, 0], dtype=np.float64)


def crepes_sets(own: Floats, new: Floats, confidence: float, classes: Labels | None = None) -> Sets:
    """Label sets of crepes by unsmoothed p-values.

    Args:
        own: nonconformity of the calibration rows' true labels, [n].
        new: nonconformity of every label, [rows, classes].
        confidence: of the sets.
        classes: the true labels, [n], where each class is judged by its own rows.
    """
    classifier = ConformalClassifier().fit(own, bins=classes)
    if classes is None:
        return np.asarray(classifier.predict_set(new, confidence=confidence, smoothing=False), dtype=np.bool_)
    columns = []
    for code, column in enumerate(new.T):
        bins = np.full(len(new), code)
        p_values = classifier.predict_p(column[:, None], bins=bins, smoothing=False)
        columns.append(p_values[:, 0] >= 1 - confidence)
    return np.stack(columns, axis=1)


def crepes_intervals(
    residuals: Floats,
    new: Floats,
    confidence: float,
    difficulty: Floats | None = None,
    new_difficulty: Floats | None = None,
) -> Floats:
    """Intervals of crepes around values, [rows], with or without difficulties; [rows, 2]."""
    regressor = ConformalRegressor().fit(residuals, sigmas=difficulty)
    found = regressor.predict_int(new, sigmas=new_difficulty, confidence=confidence)
    return np.asarray(found, dtype=np.float64)


def crepes_difficult_intervals(known: Material, new: Material, confidence: float) -> Floats:
    """Intervals of crepes by its own difficulty: residuals of 25 neighbours among a third of the rows."""
    order = np.random.default_rng(1).permutation(len(known.rows))
    teaching, scored = (part(known, some) for some in np.split(order, [len(order) // 3]))
    estimator = DifficultyEstimator()
    estimator.fit(X=teaching.rows, residuals=_residuals(teaching))
    served = new.scores[:, 0].astype(np.float64)
    difficulties = estimator.apply(scored.rows), estimator.apply(new.rows)
    return crepes_intervals(_residuals(scored), served, confidence, *difficulties)


def theirs(measure: str, known: Material, new: Material, confidence: float) -> dict[str, Columns]:
    """What the libraries say that have such a measure, by library."""
    served = known.scores.astype(np.float64), new.scores.astype(np.float64)
    if known.spec.classes:
        judge = unlikeliness if measure.startswith("lac") else likelier_mass
        own = judge(known.scores)[np.arange(len(known.labels)), known.labels]
        by_class = measure.endswith("-by-class")
        sets = {"crepes": crepes_sets(own, judge(new.scores), confidence, known.labels if by_class else None)}
        if measure == "lac" or (measure == "aps" and known.spec.task == "multiclass"):
            sets["MAPIE"] = mapie_sets(served[0], known.labels, served[1], confidence, measure)
        return {library: {"set": each} for library, each in sets.items()}
    intervals = {}
    if measure == "absolute":
        intervals["MAPIE"] = mapie_intervals(served[0], known.labels, served[1], confidence)
        intervals["crepes"] = crepes_intervals(_residuals(known), served[1][:, 0], confidence)
    elif measure == "normalised":
        intervals["crepes"] = crepes_difficult_intervals(known, new, confidence)
    elif measure == "quantile":
        before, after = (some.run("quantiles", some.rows).astype(np.float64) for some in (known, new))
        intervals["MAPIE"] = mapie_quantile_intervals(before, known.labels, after, confidence)
    return {library: {"interval": each} for library, each in intervals.items()}


def _residuals(material: Material) -> Floats:
    found: Floats = material.labels - material.scores[:, 0].astype(np.float64)
    return found
