"""Grad-CAM (Selvaraju et al., arXiv 1610.02391): where the last convolution sees what speaks for a class.

Feature maps weighted by the mean of the margin's derivative over each map, summed, negative parts dropped,
and stretched to the picture bilinearly. Numbers have no unit and nothing adds up: only where they are large
counts. A player's value is the sum over its pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.coalitions import Case
from service.domain.explainers.game import Ask, Explanation, Method, Subject, Unsuitable
from service.domain.explainers.image_players import pixel_columns
from service.domain.explainers.slopes import rounded, slopes_of
from service.domain.schema import FeatureBatch


class GradCam:
    """The method at work on one model; one gradient for each row."""

    def __init__(self, subject: Subject) -> None:
        self._slopes = slopes_of(subject)
        grid = pixel_columns(subject.spec.schema.shape) if subject.spec.schema.layout == "image" else None
        maps = self._slopes.gradient.maps(subject.background[self._slopes.baselines[:1]], 0)
        if grid is None or maps is None or maps[0].ndim != 4:
            raise Unsuitable("grad-cam needs a picture and a graph with convolutions over it")
        self._grid = grid

    def __call__(self, rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        """See ``game.Explainer``; one gradient takes so little that ``due`` is not looked at."""
        del due
        return [self._explain(case) for case in self._slopes.cases(rows, ask)]

    def _explain(self, case: Case) -> Explanation:
        maps = self._slopes.gradient.maps(case.row[None], case.label or 0)
        if maps is None:
            raise Unsuitable("the graph has no convolutions")
        features, slopes = (part[0].astype(np.float64) for part in maps)
        weights = slopes.mean(axis=(1, 2))
        heat = np.maximum(np.tensordot(weights, features, axes=1), 0)
        height, width, channels = self._grid.shape
        stretched = stretch(heat, (height, width))
        columns = np.empty(self._grid.size)
        columns[self._grid] = stretched[:, :, None]
        return Explanation(
            method=GRAD_CAM.name,
            exact=False,
            output=case.output,
            label=case.label,
            base_value=case.base,
            values=self._slopes.shared(columns) / channels,
            rows_evaluated=2,
            detail={"map": rounded(stretched), "pixels": rounded(columns)},
        )


def stretch(image: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Bilinear between the centres of cells, constant beyond the outermost; [h, w] to ``shape``."""
    rows, columns = (_between(old, new) for old, new in zip(image.shape, shape, strict=True))
    stretched: NDArray[np.float64] = rows @ image @ columns.T
    return stretched


def _between(old: int, new: int) -> NDArray[np.float64]:
    """Weights of the old cells in each new one, [new, old]."""
    centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    weights: NDArray[np.float64] = np.maximum(1 - np.abs(centres[:, None] - np.arange(old)), 0)
    return weights


GRAD_CAM = Method("grad-cam", GradCam, additive=False)
