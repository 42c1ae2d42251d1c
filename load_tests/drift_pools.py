"""The demo's loan applications as they might arrive: as ever, and after a change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from load_tests import bundles
from load_tests.drift_streams import Pool
from models.bundle import open_bundle
from models.canonical import canonical_rows
from models.demo import credit
from service.adapters.bundles import binning_of
from service.adapters.onnx import OnnxModel
from service.adapters.quantities import quantifier_of
from service.domain.binning import Binning, Column
from service.domain.schema import FeatureBatch, ModelSpec
from service.domain.uncertainty.measure import Asked
from service.domain.variables import DOMAIN, answer_columns, variable_columns

PROVIDERS = ("CPUExecutionProvider",)
SHIFTED, MISSED, WORDED, WORD = "Age", "Income", "Home", "priv"
APPEARING = 0.05
"""Share of the rows that have the new word."""

Rows: TypeAlias = FeatureBatch


@dataclass(frozen=True, eq=False)
class Demo:
    """The demo's production model, and applications that it did not learn from, some 1,760."""

    spec: ModelSpec
    binning: Binning
    rows: Rows
    spread: NDArray[np.float64]
    """Standard deviation of each column, without missing values."""
    columns: Callable[[Rows], Mapping[str, Column]]
    """Every watched variable's value of rows."""

    def missing(self, feature: str) -> float:
        """Share of the rows without a value."""
        return float(np.isnan(self.rows[:, self.spec.schema.names().index(feature)]).mean())

    def pool(self, change: Callable[[Rows], Rows] | None = None) -> Pool:
        """All rows, as they are or after a change."""
        return Pool.of(self.binning, self.columns(self.rows if change is None else change(self.rows.copy())))


def demo(home: Path) -> Demo:
    """``home`` is a model store with the demo's bundles."""
    bundle = open_bundle(bundles.locate(home, bundles.CREDIT))
    spec = bundle.spec
    model = OnnxModel(bundle.model_path, spec, bundle.binding, providers=PROVIDERS)
    quantifier = quantifier_of(bundle, providers=PROVIDERS, threads=1)
    known, _, _ = bundle.calibration()
    rows = np.concatenate([known, canonical_rows(spec.schema, credit.table("held_out"))])

    def columns(asked: Rows) -> Mapping[str, Column]:
        scores = model.predict(np.ascontiguousarray(asked))
        found: dict[str, Column] = {
            **dict(variable_columns(spec, asked)),
            **dict(answer_columns(spec, scores)),
        }
        if quantifier is not None and (name := quantifier.chosen["domain"]) is not None:
            measure = quantifier.quantities["domain"][name]
            answered = measure.columns(Asked(asked, scores, run=quantifier.run))
            found[DOMAIN] = np.asarray(answered["domain_percentile"], np.float64)
        return found

    return Demo(spec, binning_of(bundle), rows, np.nanstd(rows.astype(np.float64), axis=0), columns)


@dataclass(frozen=True, eq=False)
class Change:
    """Rows as they are before and after something happened."""

    what: str
    before: Pool
    after: Pool


def changes(usual: Demo, random: np.random.Generator) -> list[Change]:
    """Everything that is planted."""
    before = usual.pool()
    found = [Change(f"{SHIFTED} + {by} sd", before, usual.pool(shifted(usual, by))) for by in (0.1, 0.3, 0.5)]
    found += [_missing(usual, before, twice, random) for twice in (usual.missing(MISSED), _reference(usual))]
    return [*found, _new_word(usual, random)]


def _missing(usual: Demo, before: Pool, share: float, random: np.random.Generator) -> Change:
    """Twice as many rows without a value as ``share`` says."""
    column, own = usual.spec.schema.names().index(MISSED), usual.missing(MISSED)

    def missed(rows: Rows) -> Rows:
        rows[random.random(len(rows)) < (2 * share - own) / (1 - own), column] = np.nan
        return rows

    return Change(f"{MISSED} missing: {own:.1%} to {2 * share:.1%}", before, usual.pool(missed))


def _reference(usual: Demo) -> float:
    (found,) = (each for each in usual.binning.variables if each.name == f"feature:{MISSED}")
    return found.reference[found.missing] / sum(found.reference)


def shifted(usual: Demo, by: float) -> Callable[[Rows], Rows]:
    """Moves one column of the rows that it is given by so many standard deviations."""
    column = usual.spec.schema.names().index(SHIFTED)

    def shift(rows: Rows) -> Rows:
        rows[:, column] += by * usual.spread[column]
        return rows

    return shift


def _new_word(usual: Demo, random: np.random.Generator) -> Change:
    """A world without the word, until it is there: its reference rows and its applications are left out."""
    column = usual.spec.schema.names().index(WORDED)
    word = usual.spec.schema.features[column].categories.index(WORD)
    without = replace(
        usual, binning=_forgotten(usual.binning), rows=usual.rows[usual.rows[:, column] != word]
    )

    def appeared(rows: Rows) -> Rows:
        rows[random.random(len(rows)) < APPEARING, column] = word
        return rows

    return Change(f"{WORDED}: an unseen word in {APPEARING:.0%}", without.pool(), without.pool(appeared))


def _forgotten(binning: Binning) -> Binning:
    """Bins as they would be, had the reference data never had the word."""
    cuts = []
    for cut in binning.cuts:
        if cut.variable.name == f"feature:{WORDED}":
            place = cut.variable.names.index(f"is {WORD}")
            (unseen,) = cut.variable.strange
            assert cut.bins is not None  # words always have
            bins = np.where(cut.bins == place, unseen, cut.bins)
            reference = tuple(0 if at == place else rows for at, rows in enumerate(cut.variable.reference))
            cut = replace(cut, variable=replace(cut.variable, reference=reference), bins=bins)
        cuts.append(cut)
    return Binning.of(cuts)
