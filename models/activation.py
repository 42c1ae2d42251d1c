"""The picture that each class most believes in: activation maximisation.

Gradient ascent on a class's margin from the background's mean picture (Simonyan, Vedaldi &
Zisserman, arXiv 1312.6034), held near real pictures by an L2 pull towards that mean and by total variation
(Mahendran & Vedaldi, arXiv 1412.0035), and clipped to the values that the background has. The picture shows
what the model has learnt to look for, not what an example of the class looks like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.game import Subject, Unsuitable, explained
from service.domain.explainers.image_players import pixel_columns
from service.domain.explainers.slopes import rounded
from service.domain.schema import FeatureBatch

STEPS = 96
STRIDE = 0.08
"""Length of the first step, as a share of the range for an average pixel; falls to nought evenly."""
PULL, SMOOTHING = 0.2, 0.4
"""Weights of the L2 pull and of total variation beside the margin's gradient, all at equal length."""
MAX_CELLS = 1 << 24
"""Numbers that are differentiated in all; larger pictures of many classes take fewer steps."""
FEWEST_STEPS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Activation:
    """What was found for each class, or for a regression's high values."""

    images: FeatureBatch
    """Canonical rows, [classes, width]."""
    scores: NDArray[np.float64]
    """The class's own served score at its picture, [classes]."""
    margins: NDArray[np.float64]
    """Its log-odds, or the regression's value, [classes]."""
    started_at: NDArray[np.float64]
    """The same for the background's mean picture."""

    def as_document(self, classes: tuple[str, ...], shape: tuple[int, ...]) -> dict[str, Any]:
        """Ready for JSON: pixels flat in C order of ``shape``."""
        names = classes or ("value",)
        return {
            "shape": list(shape),
            "classes": [
                {
                    "label": name,
                    "score": float(self.scores[index]),
                    "margin": float(self.margins[index]),
                    "margin_of_mean": float(self.started_at[index]),
                    "pixels": rounded(self.images[index].astype(np.float64)),
                }
                for index, name in enumerate(names)
            ],
        }


def activation_maximisation(subject: Subject, seed: int = 0) -> Activation:
    """For each class a picture that raises its margin; the same for the same model and seed.

    The best picture on the way is kept, so its margin is never below that of the mean picture.

    Raises:
        Unsuitable: it is no image model, or has no gradient.
    """
    spec, background = subject.spec, subject.background
    grid = pixel_columns(spec.schema.shape) if spec.schema.layout == "image" else None
    if grid is None or subject.gradient is None:
        raise Unsuitable("activation maximisation needs a picture and a gradient")
    steps = int(np.clip(MAX_CELLS // (spec.outputs * spec.schema.width), FEWEST_STEPS, STEPS))
    mean = background.mean(axis=0, dtype=np.float64)
    low, high = float(background.min()), float(background.max())
    start = mean + 0.01 * (high - low) * np.random.default_rng(seed).standard_normal(mean.shape)
    start = np.clip(start, low, high)
    images = [
        _climbed(subject, output, start, mean, (low, high), grid, steps) for output in range(spec.outputs)
    ]
    found = np.stack(images).astype(spec.schema.dtype)
    own = subject.predict(found).astype(np.float64).diagonal()
    at_mean = np.repeat(mean[None], spec.outputs, axis=0).astype(spec.schema.dtype)
    return Activation(found, own, _margins(subject, found), _margins(subject, at_mean))


def _climbed(
    subject: Subject,
    output: int,
    start: NDArray[np.float64],
    mean: NDArray[np.float64],
    bounds: tuple[float, float],
    grid: NDArray[np.intp],
    steps: int,
) -> NDArray[np.float64]:
    """The picture with the highest margin of ``output`` among the steps and the mean picture, [width]."""
    gradient, low, high = subject.gradient, *bounds
    assert gradient is not None
    dtype = subject.spec.schema.dtype
    visited, image = [mean], start
    for step in range(steps):
        slope = gradient(image[None].astype(dtype), output)[0].astype(np.float64)
        direction = _unit(slope) - PULL * _unit(image - mean) - SMOOTHING * _unit(_roughness(image, grid))
        stride = STRIDE * (high - low) * (1 - step / steps)
        image = np.clip(image + stride * direction, low, high)
        visited.append(image)
    pictures = np.stack(visited).astype(dtype)
    margins = _margin(subject, pictures, output)
    best: NDArray[np.float64] = visited[int(margins.argmax())]
    return best


def _roughness(image: NDArray[np.float64], grid: NDArray[np.intp]) -> NDArray[np.float64]:
    """Derivative of the squared differences between neighbouring pixels, halved; [width]."""
    pixels = image[grid]
    slope = np.zeros_like(pixels)
    for axis in (0, 1):
        steps = np.diff(pixels, axis=axis)
        before, after = [(0, 0)] * 3, [(0, 0)] * 3
        before[axis], after[axis] = (1, 0), (0, 1)
        slope += np.pad(steps, before) - np.pad(steps, after)
    found = np.empty_like(image)
    found[grid] = slope
    return found


def _unit(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """The direction with a root mean square of 1, or nought."""
    size = float(np.sqrt((direction**2).mean()))
    return direction / size if size > 0 else direction


def _margin(subject: Subject, rows: FeatureBatch, output: int) -> NDArray[np.float64]:
    return explained(subject.predict(rows), "margin" if subject.spec.classes else "value", output)


def _margins(subject: Subject, rows: FeatureBatch) -> NDArray[np.float64]:
    """Of each row's own output: the first row's first, and so on."""
    return np.array([_margin(subject, rows[index : index + 1], index)[0] for index in range(len(rows))])
