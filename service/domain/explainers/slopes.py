"""What methods share that read a model's derivative instead of trying out rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.coalitions import Case, Ground, ground_of
from service.domain.explainers.game import Ask, Gradient, OutputKind, Subject, Unsuitable, Values
from service.domain.schema import FeatureBatch


@dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """A model with its derivative."""

    ground: Ground
    gradient: Gradient
    baselines: NDArray[np.intp]
    """Background rows without a missing value."""

    @property
    def subject(self) -> Subject:
        return self.ground.subject

    def cases(self, rows: FeatureBatch, ask: Ask) -> list[Case]:
        """What is explained of each row: the margin, or a regression's value.

        Raises:
            Unsuitable: a probability is asked for, or a row has a missing value.
        """
        own: OutputKind = "margin" if self.subject.spec.classes else "value"
        if ask.output not in {None, own}:
            raise Unsuitable(f"gradients are of the {own}, not of the {ask.output}; ask for {own}")
        if np.isnan(rows).any():
            raise Unsuitable("a row with a missing value has no gradient")
        return self.ground.cases(rows, replace(ask, output=own))

    def at(self, rows: FeatureBatch, case: Case) -> NDArray[np.float64]:
        """The explained number's derivative at each row, [rows, width]."""
        dtype = self.subject.background.dtype
        return self.gradient(rows.astype(dtype), case.label or 0).astype(np.float64)

    def shared(self, columns: NDArray[np.float64]) -> Values:
        """Sums over each player's columns, [..., width] to [..., players]."""
        owned = self.subject.players.columns
        return np.stack([columns[..., own].sum(axis=-1) for own in owned], axis=-1)

    def spread(self) -> NDArray[np.float64]:
        """The background's standard deviation of each column, [width]; a picture's pixels share one."""
        known = self.subject.background[self.baselines].astype(np.float64)
        if self.subject.spec.schema.layout == "image":
            return np.full(known.shape[1], known.std())
        own: NDArray[np.float64] = known.std(axis=0)
        return own


def slopes_of(subject: Subject) -> Slopes:
    """Scores the background once.

    Raises:
        Unsuitable: the model has no gradient, or every background row has a missing value.
    """
    if subject.gradient is None:
        raise Unsuitable("the model has no gradient: it is no network of known operators on plain numbers")
    baselines = np.flatnonzero(~np.isnan(subject.background).any(axis=1))
    if not len(baselines):
        raise Unsuitable("every background row has a missing value, where there is no gradient")
    return Slopes(ground_of(subject), subject.gradient, baselines)


def pixels(subject: Subject, columns: NDArray[np.float64]) -> Mapping[str, Any]:
    """For a picture: one number for every element of the input, flat in C order, ready for JSON."""
    if subject.spec.schema.layout != "image":
        return {}
    return {"pixels": rounded(columns)}


def rounded(values: NDArray[np.float64]) -> list[Any]:
    """As a list, to five digits of the largest: a picture has many numbers."""
    largest = float(np.abs(values).max(initial=0))
    digits = 4 - int(np.floor(np.log10(largest))) if largest > 0 else 0
    found: list[Any] = np.round(values, digits).tolist()
    return found
