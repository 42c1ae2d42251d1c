"""Do calibrated probabilities come truer than the served ones?

Rows that training never saw are split at random, again and again: two thirds are packaging's calibration
rows, from which each calibration learns and ``auto`` chooses; the last third judges. Beside the demo's
classifiers stand three that are wrong on purpose: credit's scores with three times their log-odds, with a
third of them, and with log-odds moved up as by training on rows of one class made more frequent; of these a
temperature mends the first two. Takes about a minute, with ``--quick`` 10 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from load_tests import bundles
from load_tests.report import Finding, record
from load_tests.sections import Circumstances, Section
from models.bundle import open_bundle
from service.domain.schema import Scores
from service.domain.uncertainty.measure import Asked, Fitted, Material, Unfitting
from service.domain.uncertainty.registry import BY_NAME, of_kind
from service.domain.uncertainty.reliability import (
    Probabilities,
    brier,
    calibration_error,
    log_losses,
    proper,
    reliability,
)

MODELS = (
    "credit:gbm-1",
    "credit:gbm-2",
    "credit:linear-1",
    "cancer:forest-1",
    "cancer:xgb-1",
    "digits:mlp-1",
)
PLANTED = {
    "three times its log-odds": (3.0, 0.0),
    "a third of its log-odds": (1 / 3, 0.0),
    "log-odds moved by 1.5": (1.0, 1.5),
}
"""What credit's log-odds are multiplied by, and what is added."""
BENT = "credit:gbm-1"
AUTO = "auto"
JUDGES = 3
"""One row in so many judges."""
SPLITS, QUICK_SPLITS = 100, 15
DRAWS = 10
"""Of labels for each split, to see what calibration error chance alone makes."""
ADDED = 0.005
"""Log-loss, in nats, that ``auto`` may add to a model that needs no calibration."""
REGAINED = 80.0
"""Percent of a planted loss that is to be regained."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How far probabilities are from what happened, on the judging rows of one split."""

    log_loss: float
    brier: float
    ece: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """One calibration of one model; means over the splits."""

    model: str
    measure: str
    """``auto`` is what packaging would have chosen in each split."""
    judging: int
    """Rows that judge in each split."""
    log_loss_before: float
    log_loss: float
    change_low: float
    """Of the change of the log-loss, its 2.5th percentile over the splits."""
    change_high: float
    """97.5th."""
    brier_before: float
    brier: float
    ece_before: float
    ece: float
    ece_by_chance: float
    """What the calibrated probabilities would have if they were the true ones."""
    chosen: str
    """For ``auto``: what was chosen, and in how many of a hundred splits."""


HEADER = (
    "model",
    "calibration",
    "log-loss",
    "calibrated",
    "change, 95 % of splits",
    "Brier",
    "calibrated",
    "ECE",
    "calibrated",
    "by chance",
    "chosen",
)


def calibration(circumstances: Circumstances) -> Section:
    """Log-loss, Brier score and calibration error before and after, on rows that nothing learnt from."""
    bundles.build_demo(circumstances.home)
    return section(measure(circumstances.home, QUICK_SPLITS if circumstances.quick else SPLITS))


def section(outcomes: Sequence[Outcome]) -> Section:
    made = Section("Probabilities before and after calibration", HEADER)
    made.how = (
        "Rows that training never saw, split at random: two thirds calibrate, one third judges. `auto` takes "
        "the calibration of the least cross-validated loss on the calibrating rows. ECE has ten bins of "
        "equal width; by chance is what the calibrated probabilities would show if they were the true ones."
    )
    made.findings = findings(outcomes)
    made.lines = [_line(each) for each in outcomes]
    made.measured = [record(each) for each in outcomes]
    return made


def findings(outcomes: Sequence[Outcome]) -> list[Finding]:
    """What was promised: ``auto`` costs a good model next to nothing, and mends one that is bent."""
    auto = {each.model: each for each in outcomes if each.measure == AUTO}
    found = []
    for name, each in auto.items():
        if name in MODELS:
            added = each.log_loss - each.log_loss_before
            found.append(Finding(f"{name}: log-loss added", added, "nats", ADDED, at_most=True))
            continue
        lost = each.log_loss_before - auto[BENT].log_loss_before
        regained = 100 * (each.log_loss_before - each.log_loss) / lost
        found.append(Finding(f"{name}: lost log-loss regained", regained, "%", REGAINED))
    return found


def measure(home: Path, splits: int) -> list[Outcome]:
    """Over the demo's classifiers and the planted ones; ``home`` is a model store that holds the demo."""
    outcomes = []
    for tag in MODELS:
        material = material_of(home, tag)
        outcomes += judge(tag, material, splits)
        if tag == BENT:
            for how, (times, moved) in PLANTED.items():
                bent = replace(material, scores=_bent(material.scores, times, moved))
                outcomes += judge(f"{tag}, {how}", bent, splits)
    return outcomes


def material_of(home: Path, tag: str) -> Material:
    """A bundle's calibration rows, none of which training saw."""
    bundle = open_bundle(bundles.locate(home, tag))
    rows, scores, labels = bundle.calibration()
    return Material(bundle.spec, rows, scores, labels, bundle.background())


def judge(name: str, material: Material, splits: int) -> list[Outcome]:
    """Every calibration that fits the model, and ``auto``."""
    before: list[Figures] = []
    after: dict[str, list[Figures]] = {}
    by_chance: dict[str, list[float]] = {}
    chosen: list[str] = []
    count = len(material.rows) // JUDGES
    for seed in range(splits):
        rng = np.random.default_rng(seed)
        judging = rng.permutation(len(material.rows)) < count
        learning, rest = _part(material, ~judging), _part(material, judging)
        before.append(_figures(proper(rest.scores), rest.labels))
        fitted = _fit_all(learning)
        chosen.append(min(fitted, key=lambda each: float(fitted[each].report["loss"])))
        for measure in (AUTO, *fitted):
            used = chosen[-1] if measure == AUTO else measure
            quantity = BY_NAME[used].restore(material.spec, fitted[used].arrays)
            calibrated = quantity.columns(Asked(rest.rows, rest.scores))["calibrated"]
            after.setdefault(measure, []).append(_figures(calibrated, rest.labels))
            by_chance.setdefault(measure, []).append(_chance(calibrated, rng))
    return [
        _outcome(name, measure, before, found, by_chance[measure], chosen if measure == AUTO else (), count)
        for measure, found in after.items()
    ]


def _outcome(
    model: str,
    measure: str,
    before: Sequence[Figures],
    after: Sequence[Figures],
    by_chance: Sequence[float],
    chosen: Sequence[str],
    judging: int,
) -> Outcome:
    changes = [now.log_loss - then.log_loss for now, then in zip(after, before, strict=True)]
    low, high = np.quantile(changes, (0.025, 0.975)).tolist()
    shares = {each: 100 * chosen.count(each) / len(chosen) for each in sorted(set(chosen))}
    return Outcome(
        model=model,
        measure=measure,
        judging=judging,
        log_loss_before=_mean([each.log_loss for each in before]),
        log_loss=_mean([each.log_loss for each in after]),
        change_low=low,
        change_high=high,
        brier_before=_mean([each.brier for each in before]),
        brier=_mean([each.brier for each in after]),
        ece_before=_mean([each.ece for each in before]),
        ece=_mean([each.ece for each in after]),
        ece_by_chance=_mean(by_chance),
        chosen=", ".join(f"{each} {share:.0f} %" for each, share in shares.items()),
    )


def _fit_all(material: Material) -> dict[str, Fitted]:
    fitted = {}
    for measure in of_kind("probability"):
        try:
            fitted[measure.name] = measure.fit(material)
        except Unfitting:
            continue
    return fitted


def _part(material: Material, rows: NDArray[np.bool_]) -> Material:
    return replace(
        material, rows=material.rows[rows], scores=material.scores[rows], labels=material.labels[rows]
    )


def _bent(scores: Scores, times: float, moved: float) -> Scores:
    """Answers of two classes with other log-odds."""
    powers: NDArray[np.float64] = scores.astype(np.float64) ** times * (1, np.exp(moved))
    bent: Scores = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return bent


def _figures(probabilities: Probabilities, labels: NDArray[np.intp]) -> Figures:
    return Figures(
        float(log_losses(probabilities, labels).mean()),
        brier(probabilities, labels),
        calibration_error(reliability(probabilities, labels)),
    )


def _chance(probabilities: Probabilities, rng: np.random.Generator) -> float:
    """Mean calibration error where labels are drawn from the probabilities themselves."""
    edges = probabilities.cumsum(axis=1)[:, :-1]
    drawn = [(rng.random((len(edges), 1)) > edges).sum(axis=1) for _ in range(DRAWS)]
    return _mean([calibration_error(reliability(probabilities, labels)) for labels in drawn])


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _line(each: Outcome) -> tuple[str, ...]:
    return (
        each.model,
        each.measure,
        f"{each.log_loss_before:.3f}",
        f"{each.log_loss:.3f}",
        f"{each.change_low:+.3f} to {each.change_high:+.3f}",
        f"{each.brier_before:.4f}",
        f"{each.brier:.4f}",
        f"{each.ece_before:.3f}",
        f"{each.ece:.3f}",
        f"{each.ece_by_chance:.3f}",
        each.chosen,
    )
