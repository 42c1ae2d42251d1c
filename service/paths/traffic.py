"""Recorded traffic as it travels through a replay."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import FeatureBatch


class Traffic(NamedTuple):
    """The rows of one record; a tuple because one is made per row of a table."""

    place: str
    """Where the record stands, for people."""
    request_id: str | None
    rows: FeatureBatch
    """Canonical rows of the production schema, [rows, width]."""
    recorded: NDArray[np.float64]
    """What production answered then, [rows, outputs]; NaN where that is not known."""
    labels: NDArray[np.float64]
    """[rows]: indices into the classes, or values of a regression; NaN where the truth is not known."""
    by_another: bool = False
    """Whether another model gave the recorded answers."""
    picked: bool = False
    """Whether the record was kept because its rows are unlike others."""
