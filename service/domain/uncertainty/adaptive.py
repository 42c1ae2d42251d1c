"""Regions that follow the traffic: adaptive conformal inference with late, bursty and missing labels.

Labelled rows change two things. Their nonconformity scores take the calibration scores' place, row by row,
until a window of the last ``Pace.window`` holds nothing else; and for each confidence of ``GRID`` the level,
which is the share of rows that may be missed, follows the misses (Gibbs & Candès 2021) by

    level += step * (promised misses - missed).

Two loops do so, because a late label can be judged in two ways:

- *As of now.* Evidence is kept, so a label is held against the levels at its arrival, not at its answer.
  However late labels are, this loop never waits for the effect of its own steps: it cannot oscillate, and
  its steps may be long. Levels with several steps run side by side and are weighted by their past losses
  (DtACI; Gibbs & Candès 2022).
- *As answered.* What callers were given is what has to be right in the long run. This loop adds up its
  misses (the integrator of Angelopoulos, Candès & Tibshirani 2023), and would oscillate if it ran ahead of
  its labels: its step times the delay, in labelled rows, stays at ``Pace.product`` or below.

Guarantee, for any data whatever, at the model's own confidence: with one fixed step, no window, prompt labels
and levels that stay below their ceiling, the share of misses over T rows is within
(max(level, 1 - level) + step) / (step T) of the promised one, ``level`` being the first. A test asserts it.
A ceiling keeps one-sided labels from emptying the sets; at it, misses may be fewer, never more. Whatever
fails, fails towards larger sets: at level nought they hold everything.

Cost: about 15 us per labelled row of a large batch and 80 us for a row alone, in the process that gathers
labels; thresholds at the edge take 10 us, for as long as an adaptation is in force.
Rows are taken in the order given, so that a burst does not judge its last row by the levels before its first;
rows of one batch in another order leave nearly, not exactly, the same levels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.coverage import judge
from service.domain.uncertainty.adaptation import GRID, NOUGHT, POOL, PROMISED, Adaptation
from service.domain.uncertainty.measure import Region

SCALE = PROMISED * (1 - PROMISED) / 0.09
"""Steps are given for a confidence of 0.9; they are as long everywhere on the scale of log-odds."""
CLOCK = 256
"""Labelled rows that the delay is measured on."""

_BELOW_ONE = 1 - NOUGHT
_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast regions follow; steps are per labelled row, at a confidence of 0.9."""

    steps: tuple[float, ...] = (0.002, 0.008, 0.032, 0.128)
    """Of the levels that run side by side, judged as of now."""
    memory: int = 500
    """Rows over which the best of the steps is looked for."""
    window: int = 1000
    """Labelled rows that replace the calibration rows; 0 keeps those for good. At most ``POOL``."""
    slow: float = 0.002
    """The step of misses as answered, at most; 0 leaves them out."""
    product: float = 0.1
    """The most that ``slow`` times the delay may be."""
    ceiling: float = 4.0
    """How many times the promised odds of a miss a level may allow."""

    def __post_init__(self) -> None:
        if not self.steps or min(*self.steps, self.slow, self.window, self.product) < 0:
            raise ValueError(f"steps, window and product are not negative, found {self}")
        if self.window > POOL or self.memory < 1 or self.ceiling < 1:
            raise ValueError(f"window is at most {POOL}, memory and ceiling are at least 1, found {self}")

    def ceilings(self) -> NDArray[np.float64]:
        """The highest level at each confidence of ``GRID``."""
        if math.isinf(self.ceiling):
            return np.full(len(GRID), _BELOW_ONE)
        odds = self.ceiling * PROMISED / (1 - PROMISED)
        ceilings: NDArray[np.float64] = odds / (1 + odds)
        return ceilings


@dataclass(frozen=True, slots=True, eq=False)
class AdaptiveState:
    """What the labels of one model, under one measure and one bundle, have taught."""

    levels: NDArray[np.float64]
    """[confidences, steps]: judged as of now."""
    weights: NDArray[np.float64]
    """[confidences, steps]: of those levels; each row adds up to 1."""
    surplus: float
    """What the loop of misses as answered adds to the level at a confidence of 0.9."""
    window: NDArray[np.float64]
    """The last labelled rows' nonconformity, oldest first, [rows]."""
    clock: NDArray[np.float64]
    """When the last labelled rows were answered and labelled, [rows, 2], unix seconds."""
    labelled: int = 0
    """Rows ever."""

    def to_document(self) -> dict[str, Any]:
        """Ready for JSON; ``state_of`` reads it back exactly."""
        return {
            "levels": self.levels.tolist(),
            "weights": self.weights.tolist(),
            "surplus": self.surplus,
            "window": self.window.tolist(),
            "clock": self.clock.tolist(),
            "labelled": self.labelled,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What some labelled rows showed."""

    covered: NDArray[np.bool_]
    """Whether the region held the label as it was answered, [rows]."""
    delay: float
    """Labelled rows that are answered between an answer and its label."""
    step: float
    """The step of misses as answered that the delay allows."""


def start(pace: Pace) -> AdaptiveState:
    """Before the first label: exactly the static region."""
    return AdaptiveState(
        levels=np.repeat(PROMISED[:, None], len(pace.steps), axis=1),
        weights=np.full((len(GRID), len(pace.steps)), 1 / len(pace.steps)),
        surplus=0.0,
        window=np.empty(0),
        clock=np.empty((0, 2)),
    )


def state_of(document: Mapping[str, Any], pace: Pace) -> AdaptiveState:
    """A state from its document; a window that has become shorter keeps the newest rows.

    Raises:
        ValueError: it does not fit this pace or is damaged; ``start`` anew.
    """
    try:
        state = AdaptiveState(
            levels=np.array(document["levels"], np.float64),
            weights=np.array(document["weights"], np.float64),
            surplus=float(document["surplus"]),
            window=np.array(document["window"], np.float64)[-pace.window or POOL :],
            clock=np.array(document["clock"], np.float64).reshape(-1, 2),
            labelled=int(document["labelled"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"no state of adaptive regions: {error!r}") from error
    shape = (len(GRID), len(pace.steps))
    if state.levels.shape != shape or state.weights.shape != shape or state.window.ndim != 1:
        raise ValueError(f"a state of levels {list(state.levels.shape)} where {list(shape)} belongs")
    parts = (state.levels, state.weights, np.array(state.surplus), state.window, state.clock)
    if not all(np.isfinite(part).all() for part in parts):
        raise ValueError("a state that holds what is no number")
    return state


def update(
    state: AdaptiveState,
    pace: Pace,
    region: Region,
    evidence: NDArray[np.float64],
    labels: NDArray[Any],
    in_force: NDArray[np.float64],
    answered_at: NDArray[np.float64],
    labelled_at: NDArray[np.float64],
    confidence: float,
) -> tuple[AdaptiveState, Outcome]:
    """The state after some rows of one model were labelled.

    Args:
        state: before.
        pace: how fast to follow.
        region: as the bundle has it, with the calibration rows' scores.
        evidence: kept since the answers, [rows, k]; rows in the order in which they were labelled.
        labels: [rows]; see ``service.domain.coverage.judge``.
        in_force: the thresholds that were answered with at ``confidence``, [rows, classes] or [rows, 1].
        answered_at: unix seconds, [rows].
        labelled_at: unix seconds, [rows].
        confidence: the model's own, which misses as answered are held against.
    """
    judged = judge(region, evidence, labels, in_force)
    clock = _clock(state.clock, answered_at, labelled_at)
    delay = _delay(clock)
    step = min(pace.slow, pace.product / (1 + delay))
    scores = np.clip(judged.nonconformity, -_LARGEST, _LARGEST)  # JSON has no infinity
    levels, weights, window = _followed(state, pace, region.scores, scores)
    promised = 1 - confidence
    # below the least surplus even the highest level is nought: more would only take longer to forget
    limit = (1 + pace.product + pace.slow) * float((pace.ceilings() / SCALE).max())
    owed = float((promised - ~judged.covered).sum())
    after = AdaptiveState(
        levels=levels,
        weights=weights,
        surplus=min(max(state.surplus + step * owed, -limit), limit),
        window=window,
        clock=clock,
        labelled=state.labelled + len(scores),
    )
    return after, Outcome(judged.covered, delay, step)


def adaptation(state: AdaptiveState, pace: Pace, region: Region, confidence: float) -> Adaptation:
    """What the state means for answers from now on; ``region`` and ``confidence`` as for ``update``."""
    levels = (state.weights * state.levels).sum(axis=1) + state.surplus * SCALE
    levels = _nested(np.clip(levels, NOUGHT, pace.ceilings()), confidence)
    scores = np.empty(0)
    if len(state.window):
        kept = _kept(region.scores, len(state.window), pace.window)
        scores = np.sort(np.concatenate([kept, state.window]))
    return Adaptation(scores, tuple(levels.tolist()), state.labelled, _delay(state.clock))


def _nested(levels: NDArray[np.float64], confidence: float) -> NDArray[np.float64]:
    """Levels that never rise with confidence, so that surer regions hold the less sure.

    Those at the model's own confidence stay as they are, and the others give way. What is surer gets larger;
    what is less sure gets no larger than the model's own region, which is right more often than it need be.
    """
    own = int(np.abs(PROMISED - (1 - confidence)).argmin())
    above = np.minimum.accumulate(levels[own:])
    below = np.maximum.accumulate(levels[: own + 1][::-1])[::-1]
    return np.concatenate([below[:-1], above])


def _followed(
    state: AdaptiveState, pace: Pace, calibration: NDArray[np.float64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Levels, weights and window after rows that are judged as of now, one after the other."""
    levels, weights = state.levels, state.weights
    steps = SCALE[:, None] * np.array(pace.steps)
    ceilings = pace.ceilings()[:, None]
    promised = PROMISED[:, None]
    eta, mix = _rates(pace)
    seen = np.concatenate([state.window, scores])
    kept, count = calibration, -1
    for index, score in enumerate(scores):
        end = len(state.window) + index
        window = seen[max(end - pace.window, 0) : end]
        if len(window) != count:
            count = len(window)
            kept = _kept(calibration, count, pace.window)
        # the highest level at which the pool's quantile still holds the label: covered means level < p
        size = len(kept) + count
        below = int(np.searchsorted(kept, score)) + int(np.count_nonzero(window < score))
        p = (size + 1 - below) / (size + 1)
        loss = promised * (p - levels) - np.minimum(p - levels, 0)
        weights = weights * np.exp(-eta * (loss - loss.min(axis=1, keepdims=True)))
        weights = (1 - mix) * weights / weights.sum(axis=1, keepdims=True) + mix / len(pace.steps)
        levels = np.minimum(levels + steps * (promised - (levels >= p)), ceilings)
    return levels, weights, seen[max(len(seen) - pace.window, 0) :]


def _rates(pace: Pace) -> tuple[NDArray[np.float64], float]:
    """How fast weights follow losses, [confidences, 1], and what share of them is spread anew per row.

    Both as Gibbs & Candès (2022) choose them for the least regret over ``memory`` rows.
    """
    promised = PROMISED[:, None]
    spread = (1 - promised) ** 2 * promised**3 + promised**2 * (1 - promised) ** 3
    much = math.log(pace.memory * len(pace.steps)) + 2
    rates: NDArray[np.float64] = np.sqrt(3 / pace.memory * much / spread)
    return rates, 1 / (2 * pace.memory)


def _kept(calibration: NDArray[np.float64], labelled: int, window: int) -> NDArray[np.float64]:
    """The calibration scores that ``labelled`` rows leave in place, evenly over their order."""
    if not labelled:
        return calibration
    kept = round(min(len(calibration), POOL) * (1 - labelled / window))
    places = (np.arange(kept) + 0.5) * len(calibration) / max(kept, 1)
    found: NDArray[np.float64] = calibration[places.astype(np.intp)]
    return found


def _clock(
    before: NDArray[np.float64], answered_at: NDArray[np.float64], labelled_at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The last times, [at most ``CLOCK``, 2]; those that are no numbers are left out."""
    clock = np.concatenate([before, np.stack([answered_at, labelled_at], axis=1)])
    usable: NDArray[np.float64] = clock[np.isfinite(clock).all(axis=1)]
    return usable[-CLOCK:]


def _delay(clock: NDArray[np.float64]) -> float:
    """Labelled rows that are answered between an answer and its label.

    By Little's law the median delay times the rate at which rows are answered that get a label. Rows that
    were all answered at one moment tell no rate; they are taken to have waited for each other.
    """
    if not len(clock):
        return 0.0
    seconds = max(float(np.median(clock[:, 1] - clock[:, 0])), 0.0)
    span = float(np.ptp(clock[:, 0]))
    if span <= 0:
        return float(len(clock))
    return seconds * (len(clock) - 1) / span
