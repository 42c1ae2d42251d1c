"""Laws of dividing: values add up, what changes nothing gets nothing, and the same gets the same.

They are the axioms of Shapley (1953) in the form of Lundberg & Lee (arXiv 1705.07874), section 2.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from models.integrity.games import symmetric, without
from models.integrity.records import Check
from models.integrity.reduced import most_influential
from models.integrity.tolerance import EXACT, ROUGH, most_sigmas, nearest_to_failing
from models.integrity.trial import Reading, Trial
from service.domain.explainers.game import Subject, Unsuitable
from service.domain.schema import FeatureBatch


def additivity(trial: Trial) -> Check:
    """The base value and the values add up to the served output, and every answer says how nearly."""
    name = "additivity"
    if not trial.method.additive:
        return Check(name, None, "its values are not meant to add up to the output")
    rows = trial.rows[: trial.effort.known]
    gaps = _gaps(trial, rows, trial.known)
    if trial.worker is not trial.explainer:
        served = rows[: trial.effort.served]
        gaps += _gaps(trial, served, trial.read(trial.explainer, served, trial.goals(served)))
    if None in gaps:
        return Check(name, False, "an explanation does not say rightly how far its values are from adding up")
    allowed = EXACT if trial.shapley else ROUGH
    worst, bound = nearest_to_failing([(gap[0], allowed + gap[1]) for gap in gaps if gap is not None])
    sentence = (
        f"over {len(rows)} rows base value and contributions miss the served {trial.output} by {worst:.2g} "
        "of its standard deviation at worst"
    )
    return Check(name, worst <= bound, sentence, worst, bound)


def dummy(trial: Trial) -> Check:
    """A player the model ignores gets nothing: the most influential one, hidden from the model."""
    name = "dummy"
    subject, _ = trial.small
    player = int(most_influential(subject, trial.rows)[0])
    changed = without(subject, player)
    try:
        explainer = trial.method.build(changed)
    except Unsuitable as reason:
        return Check(name, None, f"not held: {reason}")
    rows = trial.rows[: trial.effort.probed]
    reading = trial.read(explainer, rows, trial.goals(rows))
    given, size = np.abs(reading.values[:, player]), np.abs(reading.values).max()
    return _within(
        trial,
        name,
        given,
        _errors_of(reading, player),
        f"{subject.players.names[player]!r}, hidden from the model, is given at most",
        loose=0.1 * float(size),
    )


def symmetry(trial: Trial) -> Check:
    """Two players whom the model cannot tell apart, with equal values everywhere, get the same."""
    name = "symmetry"
    if trial.reads_graph:
        return Check(name, None, "its graph admits no model that mixes columns; agreement stands for it")
    subject, _ = trial.small
    pair = _alike(subject, trial)
    if pair is None:
        return Check(name, None, "no two players are numbers of the same shape")
    first, second = pair
    one, two = subject.players.columns[first], subject.players.columns[second]
    background, rows = subject.background.copy(), trial.rows[: trial.effort.probed].copy()
    background[:, two], rows[:, two] = background[:, one], rows[:, one]
    try:
        explainer = trial.method.build(symmetric(replace(subject, background=background), first, second))
    except Unsuitable as reason:
        return Check(name, None, f"not held: {reason}")
    reading = trial.read(explainer, rows, trial.goals(rows))
    apart = np.abs(reading.values[:, first] - reading.values[:, second])
    errors = _errors_of(reading, first, second)
    names = subject.players.names
    said = f"{names[first]!r} and {names[second]!r}, alike to the model, differ by at most"
    return _within(trial, name, apart, errors, said, loose=0.2 * float(np.abs(reading.values).max()))


def _gaps(trial: Trial, rows: FeatureBatch, reading: Reading) -> list[tuple[float, float] | None]:
    """How far each row's values are from adding up, and what rounding excuses; None where not admitted.

    Both in standard deviations of the output.
    """
    scores = trial.subject.predict(rows)
    found: list[tuple[float, float] | None] = []
    for index, goal in enumerate(trial.goals(rows)):
        own = scores[index : index + 1]
        served = float(trial.outputs(own, goal)[0])
        total = float(reading.bases[index] + reading.values[index].sum())
        gap, rounding = abs(total - served), 4 * float(trial.noise(own, goal)[0])
        pair = (gap / trial.scale(goal) if np.isfinite(gap) else np.inf, rounding / trial.scale(goal))
        found.append(pair if _admits(trial, reading.told[index].additivity_gap, total, served) else None)
    return found


def _admits(trial: Trial, reported: float | None, total: float, served: float) -> bool:
    """Whether a reported gap, in units of the served score, is the one that was measured."""
    if reported is None or trial.raw:  # a raw score's gap takes all classes' explanations to measure
        return reported is not None
    if trial.output == "margin":
        total, served = float(special.expit(total)), float(special.expit(served))
    return abs(reported - abs(total - served)) <= 1e-5 * (1 + abs(served))


def _within(
    trial: Trial,
    name: str,
    given: NDArray[np.float64],
    errors: NDArray[np.float64] | None,
    said: str,
    loose: float,
) -> Check:
    """Whether ``given`` is but rounding or noise; ``loose`` is allowed to what is no Shapley value."""
    scale = trial.scale(trial.goals(trial.rows[:1])[0])
    allowed = EXACT * scale if trial.shapley else max(EXACT * scale, loose)
    limit = np.full(len(given), allowed)
    if errors is not None:
        limit += most_sigmas(len(given)) * errors
    worst = int((given - limit).argmax())
    sentence = f"{said} {given[worst]:.2g} over {len(given)} rows"
    return Check(name, bool((given <= limit).all()), sentence, float(given[worst]), float(limit[worst]))


def _alike(subject: Subject, trial: Trial) -> tuple[int, int] | None:
    """The two most influential players made of the same number of numeric columns."""
    features = subject.spec.schema.features
    numeric = [
        int(player)
        for player in most_influential(subject, trial.rows)
        if not any(features and features[column].categories for column in subject.players.columns[player])
    ]
    sizes = [len(subject.players.columns[player]) for player in numeric]
    for place, first in enumerate(numeric):
        for other in range(place + 1, len(numeric)):
            if sizes[place] == sizes[other]:
                return first, numeric[other]
    return None


def _errors_of(reading: Reading, *players: int) -> NDArray[np.float64] | None:
    if reading.errors is None:
        return None
    return np.asarray(np.sqrt((reading.errors[:, list(players)] ** 2).sum(axis=1)))
