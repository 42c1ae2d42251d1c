"""What a manifest says about comparing its model with another: slices, tolerance, costs of mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.domain.conditions import Condition
from service.domain.disagreement.measure import Tolerance
from service.domain.expressions import (
    ExpressionError,
    between,
    column_of,
    compile_expression,
    equal_to,
    missing_of,
)
from service.domain.schema import Schema
from service.domain.slices import ALL, MOST

Cost = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
"""In any unit; those of many rows still add up to a number."""
Costs: TypeAlias = Mapping[str, Mapping[str, float]]
"""True class to answered class to what that costs."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SliceEntry(_Part):
    """A group of rows that is watched apart; ``name`` is the Prometheus label.

    Either ``column`` with one of ``value``, ``range`` and ``missing``, or ``where`` alone.
    """

    name: str = Field(min_length=1, max_length=60)
    column: str | None = None
    value: str | float | None = None
    range: tuple[float | None, float | None] | None = None
    """Least number, and the least that is too large; null where there is no such end."""
    missing: Literal[True] | None = None
    """Rows in which the column has no value."""
    where: str | None = None
    """A condition, see ``service.domain.expressions``."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        told = sum(given is not None for given in (self.value, self.range, self.missing, self.where))
        if told != 1 or (self.where is None) != (self.column is not None):
            raise ValueError(
                f"slice {self.name!r}: give a column with one of value, range and missing, or where alone"
            )
        return self

    def condition(self, schema: Schema) -> Condition:
        """What holds of its rows.

        Raises:
            ExpressionError: it does not fit the schema; says why.
        """
        if self.where is not None:
            return compile_expression(self.where, schema)
        column = column_of(str(self.column), schema)
        if self.value is not None:
            return equal_to(column, self.value)
        return missing_of(column) if self.range is None else between(column, *self.range)


class ToleranceEntry(_Part):
    """Scores a and b are the same answer where |a - b| <= absolute + relative * |a|; a is production's."""

    absolute: float = Field(default=Tolerance().absolute, ge=0, allow_inf_nan=False)
    relative: float = Field(default=Tolerance().relative, ge=0, allow_inf_nan=False)


def check_slices(slices: Sequence[SliceEntry], schema: Schema) -> None:
    """Whether all of them can be watched.

    Raises:
        ValueError: they are too many, a name is taken, or a condition does not fit the schema; says which.
    """
    names = [part.name for part in slices]
    if len(names) > MOST:
        raise ValueError(f"slices: {len(names)} are too many to be watched apart; at most {MOST}")
    if len(set(names)) != len(names):
        raise ValueError("slices: a name is listed twice")
    if ALL in names:
        raise ValueError(f"slices: {ALL!r} is the slice that every row is in; choose another name")
    for part in slices:
        try:
            part.condition(schema)
        except ExpressionError as error:
            raise ValueError(f"slices: {part.name!r}: {error}") from error


def check_costs(costs: Costs, classes: tuple[str, ...]) -> None:
    """Whether every mistake has its cost; no costs at all are fine.

    Raises:
        ValueError: there are no classes, one of them is unknown or left out, or nothing costs anything.
    """
    if not costs:
        return
    if not classes:
        raise ValueError("costs: a regression has no classes whose mistakes could differ")
    for truth, answers in costs.items():
        for name in (truth, *answers):
            if name not in classes:
                raise ValueError(f"costs: {name!r} is none of the classes {', '.join(classes)}")
    for truth in classes:
        for answered in classes:
            if truth != answered and answered not in costs.get(truth, {}):
                raise ValueError(f"costs: what {answered!r} costs where {truth!r} is right is not said")
    if not any(cost for answers in costs.values() for cost in answers.values()):
        raise ValueError("costs: every answer costs nothing")
