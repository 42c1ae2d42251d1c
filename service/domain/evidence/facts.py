"""What a verdict is made from: what was declared beforehand, and what was seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from service.domain.disagreement.measure import Sums
from service.domain.evidence.sheet import Sheet
from service.domain.slices import ALL


@dataclass(frozen=True, slots=True)
class Rules:
    """How sure the verdict has to be, and how much may differ; as in the configuration."""

    alpha: float = 0.05
    """Probability that it ever says rollback of a candidate within all margins, or better of one that is not;
    divided equally over all criteria, whether or not there is anything to judge them by."""
    least_rows: int = 1_000
    """Compared rows before it says anything but hold."""
    least_labels: int = 100
    """Labelled rows before labels count."""
    least_coverage: float = 0.5
    """Share of the mirrored rows that has to be compared."""
    labels: Literal["required", "when_present", "ignored"] = "when_present"
    """Whether a candidate can be promoted without labels."""
    flip_rate: float = 0.05
    """Share of the rows that may get another label, or of a regression another value beyond the tolerance."""
    gap: float = 0.05
    """Mean absolute difference of the scores, in spreads."""
    failure_rate: float = 0.01
    """Share of the rows on which the candidate may fail."""
    accuracy: float = 0.01
    """How much less often the candidate may be right, as a share of the labelled rows."""
    loss: float = 0.01
    """How much larger its loss may be."""
    slice_accuracy: float = 0.05
    """As ``accuracy``, in each slice; of a regression as ``loss``."""


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """All that was seen of one candidate."""

    agreement: Sheet
    """Over the measures of disagreement."""
    compared: Sums
    """Its columns over all compared rows."""
    judgement: Sheet
    """Over the measures that need the truth."""
    labelled: Mapping[str, Sums]
    """Its columns by slice, ``all`` among them once there are labels."""
    itself: Sheet
    """As ``agreement``, of production beside itself."""
    noise: Mapping[str, Sums]
    """Its columns by the way in which production was run again."""
    outcomes: Mapping[str, int]
    """Rows by what became of them; names as in ``service.domain.observation``."""
    slices: tuple[str, ...] = ()
    """Those of the manifest, without ``all``."""
    sliced: bool = True
    """Whether it is known what labels said in the slices; else these are not judged, only paid for."""
    representative: Mapping[str, Any] | None = None
    """Whether compared rows are like those left out; None where nothing tells."""
    refused: str | None = None
    """Why the candidate may not serve."""
    behaviour: tuple[str, ...] = ()
    """Checks of its behaviour that fail."""

    @property
    def rows(self) -> int:
        """Compared ones."""
        return int(self.compared[0])

    @property
    def failed(self) -> int:
        """Rows on which the candidate failed."""
        return self.outcomes.get("candidate_error", 0)

    @property
    def mirrored(self) -> int:
        """Rows that were to be compared; those that the sampling rate left out were not."""
        return sum(rows for name, rows in self.outcomes.items() if name != "sampled_out")

    @property
    def coverage(self) -> float | None:
        """Share of them that was compared; None before the first."""
        return self.outcomes.get("compared", 0) / self.mirrored if self.mirrored else None

    def labels(self, name: str = ALL) -> int:
        """Labelled rows of a slice."""
        sums = self.labelled.get(name)
        return 0 if sums is None else int(sums[0])
