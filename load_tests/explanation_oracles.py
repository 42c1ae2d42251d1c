"""How far each exact method is from values that were found in another way, over every bundle of the demo.

Two oracles. Enumeration: all coalitions of some columns beside some background rows are put through the
served model, and the worth of each is divided by Harsanyi's dividends (Harsanyi 1963): a coalition's own
surplus goes to its members in equal parts. Columns beyond the first few keep the row's values throughout.
shap's TreeExplainer: the trees as read from the graph, every column, the whole background.

Differences are by the standard deviation of the explained output over the background where that is above 1:
served scores are float32, and their rounding grows with them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf

import numpy as np
from numpy.typing import NDArray

from load_tests import bundles
from load_tests.report import Finding, record
from load_tests.sections import Circumstances, Section
from models.bundle import Bundle, open_bundle
from models.demo.registry import RECIPES
from models.integrity.reduced import merge, most_influential
from service.adapters.onnx import OnnxModel
from service.adapters.shap_trees import TREE_SHAP
from service.adapters.subjects import subject_of
from service.domain.explainers.exhaustive import EXHAUSTIVE
from service.domain.explainers.game import (
    Ask,
    Explanation,
    Method,
    Subject,
    Unsuitable,
    explained,
)
from service.domain.explainers.linear_exact import LINEAR_EXACT
from service.domain.explainers.tree_exact import TREE_EXACT
from service.domain.schema import FeatureBatch

EXACT: dict[str, Method] = {
    "tree-exact": TREE_EXACT,
    "tree-exact by shap": TREE_SHAP,
    "linear-exact": LINEAR_EXACT,
    "exhaustive": EXHAUSTIVE,
}
ENUMERATION, SHAP = "enumeration", "shap's TreeExplainer"
ALLOWED = 1e-5
"""See ``Agreement.error``."""
CHUNK = 1 << 16

Values = NDArray[np.float64]
"""[players], or [coalitions]: bit i of a coalition's number says whether player i is in it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is compared."""

    rows: int
    players: int
    """Who are enumerated, at most 10, which is all that ``exhaustive`` takes."""
    background: int
    """Rows of enumeration's games."""
    whole: int
    """Rows explained beside the whole background, for shap's TreeExplainer."""


FULL, QUICK = Plan(4, 10, 100, 20), Plan(2, 8, 40, 5)


@dataclass(frozen=True, slots=True)
class Agreement:
    """One method on one model beside one oracle."""

    model: str
    method: str
    oracle: str
    rows: int
    players: int
    spread: float
    """Standard deviation of the explained output over the background."""
    difference: float
    """Largest of all values of all rows."""

    @property
    def error(self) -> float:
        """``difference`` by ``spread`` where that is above 1."""
        return self.difference / max(1.0, self.spread)


HEADER = ("model", "method", "beside", "rows", "players", "spread", "difference")


def agreement(circumstances: Circumstances) -> Section:
    """Every exact method on every bundle of the demo beside independent oracles."""
    plan = QUICK if circumstances.quick else FULL
    bundles.build_demo(circumstances.home)
    found: list[Agreement] = []
    for tag in RECIPES:
        for each in compare(open_bundle(bundles.locate(circumstances.home, tag)), plan):
            found.append(each)
            print(" ".join(_line(each)), file=sys.stderr)
    section = Section("Exact methods beside independent oracles", HEADER)
    section.how = (
        f"Enumeration: {plan.rows} rows, up to {plan.players} players, {plan.background} background rows, "
        f"through the served graph. shap's TreeExplainer: {plan.whole} rows, all columns, the whole "
        "background, on the trees read from the graph. Spread is the explained output's standard deviation "
        "over the background, by which differences are divided where it is above 1."
    )
    section.findings = list(findings(found))
    section.lines = [_line(each) for each in found]
    section.measured = [record(each) for each in found]
    return section


def findings(found: list[Agreement]) -> Iterator[Finding]:
    """What was promised, for each method and oracle over all models."""
    for method in EXACT:
        for oracle in (ENUMERATION, SHAP):
            own = [each.error for each in found if (each.method, each.oracle) == (method, oracle)]
            if own:
                name = f"{method} beside {oracle}, {len(own)} models: largest difference"
                yield Finding(name, max(own), "", ALLOWED, at_most=True)


def compare(bundle: Bundle, plan: Plan) -> Iterator[Agreement]:
    """Every exact method that can explain a bundle's model."""
    model = OnnxModel(bundle.model_path, bundle.spec, bundle.binding, providers=("CPUExecutionProvider",))
    subject, rows = subject_of(bundle, model), bundle.golden()[0]
    for name, method in EXACT.items():
        found = _enumerated(name, method, subject, rows[: plan.rows], plan)
        if found is not None:
            yield found
    try:
        ours, shaps = TREE_EXACT.build(subject), TREE_SHAP.build(subject)
    except Unsuitable:
        return
    mine, theirs = (explain(rows[: plan.whole], Ask(), inf) for explain in (ours, shaps))
    differences = [_apart(one.values, other.values) for one, other in zip(mine, theirs, strict=True)]
    yield _agreement("tree-exact", SHAP, subject, mine[0], differences)


def shapley(worth: Values) -> Values:
    """Shapley values [players] of a game by its coalitions' worth [2^players], through dividends."""
    players = worth.size.bit_length() - 1
    dividends = worth.astype(np.float64)
    for player in range(players):
        pairs = dividends.reshape(-1, 2, 2**player)  # without the player, and with it
        pairs[:, 1] -= pairs[:, 0]
    members = _members(players)
    parts = dividends / np.maximum(members.sum(axis=1), 1)
    values: Values = parts @ members
    return values


def _enumerated(
    name: str, method: Method, subject: Subject, rows: FeatureBatch, plan: Plan
) -> Agreement | None:
    """None where the method cannot explain the model, however few its players are."""
    free = np.sort(most_influential(subject, rows)[: plan.players])
    pinned = [_pinned(subject, row, free, plan.background) for row in rows]
    merged = merge(_pinned(subject, rows[0], np.arange(len(subject.players)), plan.background), rows)
    everyone = np.arange(len(merged.players))
    for games in ([(each, free) for each in pinned], [(merged, everyone)] * len(rows)):
        try:
            told = [
                method.build(game)(row[None], Ask(), inf)[0]
                for (game, _), row in zip(games, rows, strict=True)
            ]
        except Unsuitable:
            continue
        differences = []
        for (game, players), row, each in zip(games, rows, told, strict=True):
            if not each.exact:
                raise ValueError(f"{name} is not exact on {subject.spec.tag}: {each.degraded}")
            truth = np.zeros(len(game.players))
            truth[players] = shapley(_worth(game, row, players, each))
            differences.append(_apart(each.values, truth))
        return _agreement(name, ENUMERATION, subject, told[0], differences, len(games[0][1]))
    return None


def _agreement(
    method: str,
    oracle: str,
    subject: Subject,
    told: Explanation,
    differences: list[float],
    players: int | None = None,
) -> Agreement:
    outputs = explained(subject.predict(subject.background), told.output, told.label or 0)
    return Agreement(
        model=subject.spec.tag,
        method=method,
        oracle=oracle,
        rows=len(differences),
        players=players or len(subject.players),
        spread=float(outputs.std()),
        difference=max(differences),
    )


def _pinned(subject: Subject, row: FeatureBatch, free: NDArray[np.intp], most: int) -> Subject:
    """The same model beside ``most`` background rows that have the row's values but for the free players'."""
    drawn = np.random.default_rng(0).permutation(len(subject.background))[:most]
    background = np.repeat(row[None], len(drawn), axis=0)
    columns = np.concatenate([subject.players.columns[player] for player in free])
    background[:, columns] = subject.background[drawn][:, columns]
    return replace(subject, background=background)


def _worth(game: Subject, row: FeatureBatch, players: NDArray[np.intp], told: Explanation) -> Values:
    """What each coalition of ``players`` is worth."""
    members, background = _members(len(players)), game.background
    takes = np.zeros((len(members), len(row)), dtype=bool)
    for place, player in enumerate(players):
        takes[:, game.players.columns[player]] = members[:, place, None]
    worth = np.empty(len(members))
    step = max(1, CHUNK // len(background))
    for at in range(0, len(members), step):
        mixed = np.where(takes[at : at + step, None], row, background[None]).reshape(-1, len(row))
        outputs = explained(game.predict(np.ascontiguousarray(mixed)), told.output, told.label or 0)
        worth[at : at + step] = outputs.reshape(-1, len(background)).mean(axis=1)
    return worth


def _members(players: int) -> NDArray[np.bool_]:
    """Who is in each coalition, [2^players, players]."""
    found: NDArray[np.bool_] = (np.arange(2**players)[:, None] >> np.arange(players)) & 1 == 1
    return found


def _apart(one: Values, other: Values) -> float:
    return float(np.abs(one - other).max())


def _line(each: Agreement) -> tuple[str, ...]:
    return (
        each.model,
        each.method,
        each.oracle,
        str(each.rows),
        str(each.players),
        f"{each.spread:.3g}",
        f"{each.difference:.1e}",
    )
