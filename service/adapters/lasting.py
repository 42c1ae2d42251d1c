"""Counts in a file that outlives the process that counts.

The file is mapped into memory, so whoever is killed leaves all that was counted; an addition of a whole
vector that a ``kill -9`` meets in the act may be half there. Cost: 8 bytes a cell.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CELL_BYTES = 8


def lasting_counts(path: Path, cells: int) -> NDArray[np.float64]:
    """The vector in the file at ``path``, noughts where it is new; float64 [cells].

    What is counted means the same in every life only where the name of the file says what is counted.
    """
    with path.open("ab") as file:
        path.chmod(0o600)  # how often which values came is for the service alone
        file.truncate(cells * CELL_BYTES)
    return np.memmap(path, dtype=np.float64, mode="r+", shape=(cells,))
