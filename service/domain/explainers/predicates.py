"""What can be said of one column of a row, and rules that say several such things at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import Feature, FeatureBatch, Schema
from service.domain.words import word

_CUTS = np.arange(1, 10) / 10
"""Numbers are compared with the background's deciles."""

_FEW = 10
"""A number with at most so many distinct values may also be said to equal one of them."""


@dataclass(frozen=True, slots=True)
class Predicate:
    """One thing that holds of a column."""

    column: int
    relation: Literal["=", "<=", ">", "missing"]
    value: float = np.nan

    def holds(self, rows: FeatureBatch) -> NDArray[np.bool_]:
        """Of which rows it is true, [rows]; a missing value is neither above nor below anything."""
        values = rows[:, self.column]
        if self.relation == "missing":
            return np.isnan(values)
        if self.relation == "<=":
            return np.asarray(values <= self.value)
        return np.asarray(values > self.value if self.relation == ">" else values == self.value)


def predicates_of(
    schema: Schema, row: NDArray[np.floating[Any]], background: FeatureBatch
) -> list[Predicate]:
    """All that is true of a canonical row [width] and not of every background row."""
    found: list[Predicate] = []
    for column, feature in enumerate(schema.features):
        own, seen = float(row[column]), background[:, column]
        if np.isnan(own):
            found.append(Predicate(column, "missing"))
            continue
        known = np.unique(seen[~np.isnan(seen)])
        if feature.categories or len(known) <= _FEW:
            found.append(Predicate(column, "=", own))
        if not feature.categories and len(known):
            cuts = np.unique(np.quantile(seen[~np.isnan(seen)], _CUTS, method="lower")).tolist()
            found += [Predicate(column, "<=" if own <= cut else ">", cut) for cut in cuts]
    return [predicate for predicate in found if not predicate.holds(background).all()]


def rule_in_words(schema: Schema, rule: list[Predicate]) -> list[str]:
    """One phrase for each column of a rule, in schema order: ``Home = rent``, ``60 < Income <= 90``."""
    columns = sorted({predicate.column for predicate in rule})
    dtype = schema.dtype.type
    phrases = []
    for column in columns:
        feature = schema.features[column]
        said = {p.relation: _spelled(feature, dtype(p.value)) for p in rule if p.column == column}
        phrases.append(_phrase(feature.name, said))
    return phrases


def _phrase(name: str, said: dict[Literal["=", "<=", ">", "missing"], str]) -> str:
    if "missing" in said:
        return f"{name} is missing"
    if "=" in said:
        return f"{name} = {said['=']}"
    if "<=" in said and ">" in said:
        return f"{said['>']} < {name} <= {said['<=']}"
    relation, value = next(iter(said.items()))
    return f"{name} {relation} {value}"


def _spelled(feature: Feature, value: np.floating[Any]) -> str:
    posted = word(feature, value)
    return f"{posted:.10g}" if isinstance(posted, float) else str(posted)
