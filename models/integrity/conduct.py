"""How a method behaves: the same twice, moved by the model alone, and right about what matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.integrity.records import Check
from models.integrity.reduced import lean
from models.integrity.scrambled import random_labels, random_network, shuffled_weights
from models.integrity.trial import Table, Trial
from service.domain.explainers.game import Subject, Unsuitable
from service.domain.schema import FeatureBatch

_NOISE = 0.01
"""Size of a small disturbance, in standard deviations of each column."""
_UNSTABLE = 1.0
_DISTURBED = 8
_ALONE = 1e-3
_ORDERS = 8
_REMOVAL_ROWS = 8
_STEPS = 8
_SIGNIFICANT = 0.05
_FEWEST_PLAYERS = 4


def repeatability(trial: Trial) -> Check:
    """The same rows and ask give the same answer, to the last bit."""
    rows = trial.rows[: trial.effort.served]
    goals = trial.goals(rows)
    first, second = (trial.read(trial.explainer, rows, goals) for _ in range(2))
    apart = float(np.abs(first.values - second.values).max(initial=0.0))
    same = all(one.detail == two.detail for one, two in zip(first.told, second.told, strict=True))
    sentence = f"explained twice, {len(rows)} rows' values differ by {apart:.2g}"
    if not same:
        sentence += ", and in their details"
    return Check("repeatability", apart == 0 and same, sentence, apart, 0.0)


def independence(trial: Trial) -> Check:
    """A row's answer does not depend on the rows that are explained with it, so that it may be kept."""
    rows = trial.rows[: trial.effort.probed]
    goals, scores = trial.goals(rows), trial.subject.predict(rows)
    together = trial.known.values
    apart = 0.0
    for at, goal in enumerate(goals):
        own = slice(at, at + 1)
        alone = trial.read(trial.worker, rows[own], [goal]).values[0]
        beyond = float(np.abs(together[at] - alone).max()) - 4 * float(trial.noise(scores[own], goal)[0])
        apart = max(apart, beyond / trial.scale(goal))
    sentence = (
        f"explained alone and with others a row's values differ by at most {apart:.2g} of the output's "
        "standard deviation, beyond float32 rounding"
    )
    return Check("independence", apart <= _ALONE, sentence, apart, _ALONE)


def randomised_weights(trial: Trial) -> Check:
    """Explanations of the model do not resemble those of a model of the same shape with random weights."""
    shuffle = shuffled_weights if trial.reads_graph else random_network
    return _unlike(trial, "randomised weights", "weights are random", shuffle)


def randomised_labels(trial: Trial) -> Check:
    """Explanations of the model do not resemble those of a model that was trained on shuffled labels."""
    name = "randomised labels"
    if not trial.agnostic:
        return Check(name, None, "a model trained anew has another graph; randomised weights stand for it")
    return _unlike(trial, name, "labels were shuffled before training", random_labels)


def deletion(trial: Trial) -> Check:
    """Taking away what a method calls important moves the output more than taking away at random.

    Players are replaced by background rows in falling order of their values, and in random orders; the mean
    fall of the output on the way (its movement, for a mere sensitivity) is compared, paired over rows, by a
    one-sided t test (Samek et al., arXiv 1509.06321).
    """
    name = "deletion"
    rows = trial.rows[: trial.effort.known]
    goals, players = trial.goals(rows), trial.subject.players
    if len(players) < 2:
        return Check(name, None, "a single player has no order")
    values = trial.known.values
    signed = trial.claim != "sensitivity"
    rng = np.random.default_rng([trial.seed, 21])
    others = rng.choice(
        len(trial.subject.background), min(_REMOVAL_ROWS, len(trial.subject.background)), False
    )
    owner = players.owner()
    own_fall, random_fall = np.empty(len(rows)), np.empty(len(rows))
    for index, goal in enumerate(goals):
        strength = values[index] if signed else np.abs(values[index])
        orders = [np.argsort(-strength, kind="stable")]
        orders += [rng.permutation(len(players)) for _ in range(_ORDERS)]
        mixed = _removals(rows[index], trial.subject.background[others], owner, orders)
        scores = trial.subject.predict(np.vstack([rows[index : index + 1], mixed]))
        outputs = trial.outputs(scores, goal)
        fall = outputs[0] - outputs[1:].reshape(len(orders), -1)
        falls = (fall if signed else np.abs(fall)).mean(axis=1) / trial.scale(goal)
        own_fall[index], random_fall[index] = falls[0], falls[1:].mean()
    ahead = own_fall - random_fall
    if np.allclose(ahead, ahead[0]):
        chance = 0.0 if ahead[0] > 1e-6 else 1.0
    else:
        chance = float(stats.ttest_1samp(ahead, 0.0, alternative="greater").pvalue)
    sentence = (
        f"taking players away in its order moves the output by {own_fall.mean():.2g} standard deviations, "
        f"in random order by {random_fall.mean():.2g}; over {len(rows)} rows p = {chance:.1g}"
    )
    return Check(name, chance <= _SIGNIFICANT, sentence, chance, _SIGNIFICANT)


def stability(trial: Trial) -> Check:
    """A disturbance too small to move the output does not turn the explanation over.

    Models of trees jump, so only rows whose output stays are looked at, and only an explanation that changes
    by more than its own size, in the median, fails.
    """
    name = "stability"
    features, rows = trial.subject.spec.schema.features, trial.rows[:_DISTURBED]
    smooth = [not features or features[at].type == "float" for at in range(rows.shape[1])]
    spread = np.nan_to_num(np.nanstd(np.where(smooth, trial.subject.background, 0.0), axis=0))
    if not spread.any():
        return Check(name, None, "no column takes a small disturbance")
    rng = np.random.default_rng([trial.seed, 22])
    moved = np.ascontiguousarray(rows + _NOISE * spread * rng.normal(size=rows.shape), rows.dtype)
    goals = trial.goals(rows)
    before, after = trial.known.values, trial.read(trial.worker, moved, goals).values
    scores, changed = trial.subject.predict(rows), trial.subject.predict(moved)
    shifts, turns = [], []
    for at, goal in enumerate(goals):
        scale = trial.scale(goal)
        pair = [trial.outputs(batch[at : at + 1], goal)[0] for batch in (scores, changed)]
        if abs(pair[1] - pair[0]) <= 0.1 * scale:
            shifts.append(abs(pair[1] - pair[0]) / scale)
            size = max(float(np.linalg.norm(before[at])), 1e-3 * scale)
            turns.append(float(np.linalg.norm(after[at] - before[at])) / size)
    if not turns:
        return Check(name, None, "the output itself moved on every row")
    turn = float(np.median(turns))
    sentence = (
        f"columns disturbed by {_NOISE} of their standard deviation change an explanation by {turn:.2g} of "
        f"its size in the median of {len(turns)} rows, whose output moved by {np.median(shifts):.2g} of its "
        f"own deviation (a local Lipschitz figure of {turn / _NOISE:.2g})"
    )
    return Check(name, turn <= _UNSTABLE, sentence, turn, _UNSTABLE)


def _unlike(
    trial: Trial, name: str, how: str, scramble: Callable[[Subject, np.random.Generator], Subject | None]
) -> Check:
    background = lean(trial.subject, trial.effort.background, trial.seed).background
    rows = trial.rows[: trial.effort.probed]
    goals = trial.goals(rows)
    lively = _lively(trial.subject)
    if lively.sum() < _FEWEST_PLAYERS:
        return Check(name, None, f"fewer than {_FEWEST_PLAYERS} players vary, too few to compare their order")
    real = trial.known.values[: len(rows), lively]
    likeness = []
    for turn in range(trial.effort.scrambles):
        scrambled = scramble(trial.subject, np.random.default_rng([trial.seed, 23, turn]))
        if scrambled is None:
            return Check(name, None, "the graph is not understood well enough to scramble it")
        try:
            explainer = trial.method.build(replace(scrambled, background=background))
        except Unsuitable as reason:
            return Check(name, None, f"not held: {reason}")
        likeness.append(
            float(_rank_correlations(real, trial.read(explainer, rows, goals).values[:, lively]).mean())
        )
    alike = abs(float(np.mean(likeness)))
    chance = 3 / np.sqrt(len(likeness) * (lively.sum() - 1))
    bound = float(min(0.9, max(0.5, chance)))
    sentence = (
        f"over {len(rows)} rows and {len(likeness)} models whose {how} the mean rank correlation with the "
        f"model's own explanations is {alike:.2g} in size"
    )
    return Check(name, alike <= bound, sentence, alike, bound)


def _lively(subject: Subject) -> NDArray[np.bool_]:
    """Players with a column that varies over the background: the others get nothing from any model."""
    varies = (subject.background != subject.background[:1]).any(axis=0)
    return np.array([varies[columns].any() for columns in subject.players.columns])


def _rank_correlations(first: Table, second: Table) -> NDArray[np.float64]:
    """Spearman's, of each row; 0 where a row's values are all the same."""
    ranks = [stats.rankdata(table, axis=1) for table in (first, second)]
    one, two = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    sizes = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
    return np.asarray((one * two).sum(axis=1) / np.where(sizes > 0, sizes, 1.0))


def _removals(
    row: FeatureBatch, others: FeatureBatch, owner: NDArray[np.intp], orders: list[NDArray[np.intp]]
) -> FeatureBatch:
    """The row with each order's first players taken from each other row, [orders * steps * others, width]."""
    steps = np.unique(np.linspace(1, len(orders[0]) - 1, _STEPS).round().astype(int))
    places = np.argsort(np.array(orders), axis=1)[:, owner]
    gone = places[:, None] < steps[:, None]
    return np.where(gone[:, :, None], others, row).reshape(-1, len(row)).astype(row.dtype)
