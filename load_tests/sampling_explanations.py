"""Permutation sampling beside shap's KernelExplainer.

Both explain the demo's credit models in ten players, so that all 2^10 coalitions beside all background rows
tell what is exact. KernelExplainer runs the way its documentation advises (100 background rows, its own
choice of coalitions) and with few coalitions beside more rows; permutation sampling gets just the model rows
that make its root-mean-square error as small. Also: how often 1.96 standard errors cover the exact value.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from load_tests import bundles
from load_tests.report import Finding, record
from load_tests.sections import Circumstances, Section
from models.bundle import open_bundle
from service.adapters.onnx import OnnxModel
from service.adapters.shap_kernel import Trial, shap_values
from service.domain.explainers.coalitions import ground_of
from service.domain.explainers.exhaustive import EXHAUSTIVE
from service.domain.explainers.game import Ask, Explainer, Players, Subject
from service.domain.explainers.permutation import PERMUTATION
from service.domain.schema import FeatureBatch

MODELS = ("credit:gbm-1", "credit:gbm-2")
TOGETHER = (("Home", "Marital"), ("Assets", "Debt"), ("Amount", "Price"))
"""Columns that share a player: 13 columns make 10 players."""
BUDGETS = tuple(round(100 * 2 ** (step / 2)) for step in range(17))
"""``max_evals`` that are tried, 100 to 25,600."""
COVERED_AT = (400, 1000, 4000, 16000)
FASTER = 30.0

Exact: TypeAlias = NDArray[np.float64]  # [rows, players]
Run: TypeAlias = Callable[[FeatureBatch, int], tuple[Exact, int]]
"""A row and a seed to attributions, [players], and the model rows they took."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How KernelExplainer is run."""

    name: str
    background: int
    coalitions: int | Literal["auto"]
    target: float | None = None
    """How many times faster permutation sampling is to be; None: reported only."""


SETTINGS = (
    Setting("100 rows, its own choice of coalitions", 100, "auto", FASTER),
    Setting("100 rows, 100 coalitions", 100, 100),
    Setting("1,000 rows, 100 coalitions", 1000, 100),
)


@dataclass(frozen=True, slots=True)
class Point:
    """One method at one setting."""

    milliseconds: float
    """Of one row, median."""
    error: float
    """Root-mean-square over rows and players, by the mean absolute exact attribution."""
    model_rows: int
    """Of one row."""


@dataclass(frozen=True, slots=True)
class Race:
    """A setting of KernelExplainer beside the cheapest permutation run that is at least as exact."""

    model: str
    setting: Setting
    kernel: Point
    permutation: Point
    ratio: float
    """Of their times, median of runs that took turns."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often the exact value lay within 1.96 standard errors."""

    model: str
    max_evals: int
    cases: int
    covered: float


HEADER = (
    "model",
    "KernelExplainer",
    "its ms",
    "its rows",
    "its error",
    "permutation ms",
    "rows",
    "error",
    "times faster",
)


def sampling(circumstances: Circumstances) -> Section:
    """Permutation sampling beside KernelExplainer, and how often its standard errors cover the truth."""
    bundles.build(circumstances.home)
    races, coverages = measure(circumstances.home, rows=2 if circumstances.quick else 4)
    section = Section("permutation and shap's KernelExplainer at an equal error", HEADER)
    section.how = (
        "The demo's credit models in ten players, beside all background rows; exact values by enumeration. "
        "Errors are root mean squares by the mean absolute exact value. A row of the table is one setting of "
        "KernelExplainer and the cheapest permutation sampling that is at least as exact."
    )
    section.findings = findings(races, coverages)
    section.lines = [_line(race) for race in races]
    section.measured = [record(each) for each in (*races, *coverages)]
    return section


def _line(race: Race) -> tuple[str, ...]:
    points = [
        cell
        for point in (race.kernel, race.permutation)
        for cell in (f"{point.milliseconds:,.1f}", f"{point.model_rows:,}", f"{point.error:.1%}")
    ]
    return (race.model, race.setting.name, *points, f"{race.ratio:,.0f}")


def measure(home: Path, rows: int = 4, seeds: int = 12) -> tuple[list[Race], list[Coverage]]:
    """Over the demo's models.

    Args:
        home: a model store that holds the demo's bundles.
        rows: explained rows of each model; their exact values take about 6 s each.
        seeds: repetitions of what is random.
    """
    races: list[Race] = []
    coverages: list[Coverage] = []
    for tag in MODELS:
        subject, asked = ten_players(home, tag, rows)
        exact = np.stack([each.values for each in EXHAUSTIVE.build(subject)(asked, Ask(), math.inf)])
        explain = PERMUTATION.build(subject)
        ladder = [_point(_permutation(explain, evals), asked, exact, seeds) for evals in BUDGETS]
        for setting in SETTINGS:
            kernel = _kernel(subject, setting)
            theirs = _point(kernel, asked, exact, max(2, seeds // 6))
            as_exact = [index for index, point in enumerate(ladder) if point.error <= theirs.error]
            rung = as_exact[0] if as_exact else len(ladder) - 1
            ratio = _times_faster(_permutation(explain, BUDGETS[rung]), kernel, asked)
            races.append(Race(tag, setting, theirs, ladder[rung], ratio))
        coverages += [_coverage(explain, tag, asked, exact, evals, 4 * seeds) for evals in COVERED_AT]
    return races, coverages


def findings(races: Sequence[Race], coverages: Sequence[Coverage]) -> list[Finding]:
    """What was promised: 30 times faster at an equal error, and coverage of 93 to 97%."""
    speed = []
    for race in races:
        against = f"KernelExplainer ({race.setting.name}), error {race.kernel.error:.1%}"
        speed.append(Finding(f"{race.model}: faster than {against}", race.ratio, "x", race.setting.target))
    covered = []
    for each in coverages:
        name = f"{each.model}: covered by 1.96 standard errors at {each.max_evals} model rows"
        covered.append(Finding(name, 100 * each.covered, "%", 93.0))
        covered.append(Finding(f"{name} (at most)", 100 * each.covered, "%", 97.0, at_most=True))
    return speed + covered


def ten_players(home: Path, tag: str, rows: int) -> tuple[Subject, FeatureBatch]:
    """A credit model whose 13 columns belong to ten players, and golden rows to explain."""
    bundle = open_bundle(bundles.locate(home, tag))
    names = bundle.spec.schema.names()
    first = {name: group[0] for group in TOGETHER for name in group}
    owners = [first.get(name, name) for name in names]
    kept = tuple(dict.fromkeys(owners))
    columns = tuple(np.flatnonzero(np.array(owners) == name) for name in kept)
    model = OnnxModel(bundle.model_path, bundle.spec, bundle.binding)
    subject = Subject(bundle.spec, model.predict, bundle.background(), Players(kept, columns))
    return subject, bundle.golden()[0][:rows]


def _permutation(explain: Explainer, evals: int) -> Run:
    def run(row: FeatureBatch, seed: int) -> tuple[Exact, int]:
        (found,) = explain(row[None], Ask(max_evals=evals, seed=seed), math.inf)
        return found.values, found.rows_evaluated

    return run


def _kernel(subject: Subject, setting: Setting) -> Run:
    ground, players, owner = ground_of(subject), len(subject.players), subject.players.owner()

    def run(row: FeatureBatch, seed: int) -> tuple[Exact, int]:
        drawn = np.random.default_rng(seed).permutation(len(subject.background))[: setting.background]
        (case,) = ground.cases(row[None], Ask())
        trial = Trial(case, subject.background[drawn], owner, math.inf)
        return shap_values(trial, players, setting.coalitions, seed)[1], trial.evaluated

    return run


def _times_faster(ours: Run, theirs: Run, rows: FeatureBatch) -> float:
    """Both in turn, so that drift of the machine cancels; theirs ran before, so shap is imported."""
    ratios = []
    for index, row in enumerate(rows):
        seconds = []
        for run, repeats in ((theirs, 1), (ours, 5)):
            start = time.perf_counter()
            for seed in range(repeats):
                run(row, 1000 * index + seed)
            seconds.append((time.perf_counter() - start) / repeats)
        ratios.append(seconds[0] / seconds[1])
    return median(ratios)


def _point(run: Run, rows: FeatureBatch, exact: Exact, seeds: int) -> Point:
    times, squares, evaluated = [], [], 0
    for seed in range(seeds):
        for index, row in enumerate(rows):
            start = time.perf_counter()
            values, evaluated = run(row, seed * len(rows) + index)
            times.append(time.perf_counter() - start)
            squares.append(float(((values - exact[index]) ** 2).mean()))
    error = math.sqrt(sum(squares) / len(squares)) / float(np.abs(exact).mean())
    return Point(1e3 * median(times), error, evaluated)


def _coverage(
    explain: Explainer, tag: str, rows: FeatureBatch, exact: Exact, evals: int, seeds: int
) -> Coverage:
    inside = []
    for seed in range(seeds):
        for index, row in enumerate(rows):
            (found,) = explain(row[None], Ask(max_evals=evals, seed=seed * len(rows) + index), math.inf)
            if found.standard_errors is None:
                raise ValueError("permutation sampling states standard errors")
            inside.append(np.abs(found.values - exact[index]) <= 1.96 * found.standard_errors)
    return Coverage(tag, evals, int(np.size(inside)), float(np.mean(inside)))
