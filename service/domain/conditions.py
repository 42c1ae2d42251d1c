"""Conditions on canonical rows, put together from comparisons of single columns.

A missing value is in no comparison, ``!=`` and ``not in`` included: a row is only where what it says puts it.
``Not`` alone turns an answer round, so ``Not(Compare(home, "==", rent))`` also holds of a row without a home.

Numbers are compared in the dtype of the rows, so that a tenth is found in float32 as well.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import FeatureBatch

Mask: TypeAlias = NDArray[np.bool_]
"""[rows]: which rows a condition holds of."""
Sign: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">="]

COMPARE: dict[Sign, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Condition(Protocol):
    """Holds of a row, or does not."""

    def mask(self, rows: FeatureBatch) -> Mask: ...


@dataclass(frozen=True, slots=True)
class Compare:
    """The column's value against a number, or a category's index."""

    column: int
    sign: Sign
    value: float

    def mask(self, rows: FeatureBatch) -> Mask:
        column = rows[:, self.column]
        found: Mask = COMPARE[self.sign](column, self.value)
        return found & ~np.isnan(column) if self.sign == "!=" else found


@dataclass(frozen=True, slots=True)
class CompareColumns:
    """Two columns of numbers against each other."""

    left: int
    sign: Sign
    right: int

    def mask(self, rows: FeatureBatch) -> Mask:
        left, right = rows[:, self.left], rows[:, self.right]
        found: Mask = COMPARE[self.sign](left, right)
        return found & ~(np.isnan(left) | np.isnan(right)) if self.sign == "!=" else found


@dataclass(frozen=True, slots=True)
class OneOf:
    """The column's value is one of some numbers or categories' indices, or, ``negated``, another one."""

    column: int
    values: tuple[float, ...]
    negated: bool = False

    def mask(self, rows: FeatureBatch) -> Mask:
        column = rows[:, self.column]
        found: Mask = (column[:, None] == np.array(self.values, column.dtype)).any(axis=1)
        return ~(found | np.isnan(column)) if self.negated else found


@dataclass(frozen=True, slots=True)
class Missing:
    """The column has no value."""

    column: int

    def mask(self, rows: FeatureBatch) -> Mask:
        found: Mask = np.isnan(rows[:, self.column])
        return found


@dataclass(frozen=True, slots=True)
class Not:
    """The other condition does not hold."""

    part: Condition

    def mask(self, rows: FeatureBatch) -> Mask:
        return ~self.part.mask(rows)


@dataclass(frozen=True, slots=True)
class Both:
    """Every one of one or more conditions holds."""

    parts: tuple[Condition, ...]

    def mask(self, rows: FeatureBatch) -> Mask:
        found: Mask = np.logical_and.reduce([part.mask(rows) for part in self.parts])
        return found


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of one or more conditions holds."""

    parts: tuple[Condition, ...]

    def mask(self, rows: FeatureBatch) -> Mask:
        found: Mask = np.logical_or.reduce([part.mask(rows) for part in self.parts])
        return found
