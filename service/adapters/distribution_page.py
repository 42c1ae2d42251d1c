"""The part of Prometheus' page that shows rows by bin.

It has as many series as all models have bins, each with labels that never change, so it is put together from
labels that are written out once: 1,000 series take 0.1 ms.
A bin that no row fell into is there with 0, so that rates are right from its first row on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.domain.drift.slots import TOLD_RIGHT, TOLD_WRONG, ModelKey


class Family(NamedTuple):
    """What is said of a family above its series."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


ROWS = Family(
    "understudy_distribution_rows_total",
    "counter",
    ("model", "version", "role", "variable", "bin"),
    "Rows by the bin of the reference data that a variable's value is in.",
)
REFERENCE = Family(
    "understudy_reference_rows",
    "gauge",
    ("model", "version", "variable", "bin"),
    "Rows of the reference data by bin.",
)
TOLD = Family(
    "understudy_two_sample_rows_total",
    "counter",
    ("model", "version", "correct"),
    "Live and reference rows that a classifier told from each other, by whether it was right.",
)
FAMILIES = (ROWS, REFERENCE, TOLD)


class Variable(Protocol):
    """One variable with its bins, see ``service.domain.binning``."""

    @property
    def name(self) -> str: ...

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def reference(self) -> Sequence[int]: ...


class Counted(NamedTuple):
    """A model whose rows are counted."""

    model: ModelKey
    variables: Sequence[Variable]
    tells: bool
    """Whether a two-sample test looks at its rows."""


class DistributionPage:
    """Renders the page of some models.

    Args:
        models: in the order of the vectors that ``text`` gets.
    """

    def __init__(self, models: Sequence[Counted]) -> None:
        self._rows = [_series(ROWS, _row_labels(each)) for each in models]
        self._told = [
            _series(TOLD, ((*_named(each), "true"), (*_named(each), "false"))) if each.tells else []
            for each in models
        ]
        by_tag = {each.model.tag: each for each in models}  # a bundle's reference is the same in every role
        self._reference = [
            line
            for each in by_tag.values()
            for line in _lines(_series(REFERENCE, _reference_labels(each)), _reference_rows(each))
        ]

    def text(self, vectors: Iterable[NDArray[np.float64]]) -> bytes:
        """The families in Prometheus' text format.

        Args:
            vectors: of each model its bins' rows one after the other, then ``TOLD_RIGHT`` and ``TOLD_WRONG``.
        """
        rows, told = list(_head(ROWS)), list(_head(TOLD))
        for prefixes, tells, counts in zip(self._rows, self._told, vectors, strict=True):
            values = counts.astype(np.int64)
            rows += _lines(prefixes, values[: len(prefixes)].tolist())
            told += _lines(tells, [int(values[TOLD_RIGHT]), int(values[TOLD_WRONG])][: len(tells)])
        parts = [*rows, *_head(REFERENCE), *self._reference]
        if any(self._told):
            parts += told
        return ("\n".join(parts) + "\n").encode()


def _head(family: Family) -> tuple[str, str]:
    return f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.type}"


def _series(family: Family, values: Iterable[Sequence[str]]) -> list[str]:
    """Each series up to its value."""
    return [f"{family.name}{{{','.join(map(_label, family.labels, each))}}} " for each in values]


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{name}="{escaped}"'


def _lines(prefixes: Sequence[str], values: Sequence[int]) -> list[str]:
    return [f"{prefix}{value}" for prefix, value in zip(prefixes, values, strict=True)]


def _named(each: Counted) -> tuple[str, str]:
    name, _, version = each.model.tag.partition(":")
    return name, version


def _row_labels(each: Counted) -> Iterable[tuple[str, ...]]:
    for variable in each.variables:
        for name in variable.names:
            yield *_named(each), each.model.role, variable.name, name


def _reference_labels(each: Counted) -> Iterable[tuple[str, ...]]:
    for variable in each.variables:
        for name in variable.names:
            yield *_named(each), variable.name, name


def _reference_rows(each: Counted) -> list[int]:
    return [rows for variable in each.variables for rows in variable.reference]
