"""Changed rows: what a behavioural check asks about, as far as callers could send it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.behaviour_suite import ChangeEntry
from models.canonical import canonical_rows
from models.manifest import FeatureEntry, Manifest
from service.domain.explainers.image_players import pixel_columns
from service.domain.schema import Feature, FeatureBatch
from service.errors import BundleError

PIXELS = "pixels"
"""What stands for the feature's name where the input is an image."""
MOST_VARIANTS = 64
"""Changes of one row."""
ON_PIXELS = frozenset({"shift", "flip", "noise", "add", "times"})
ON_NUMBERS = frozenset({"to", "add", "times"})
ON_WORDS = frozenset({"to", "others"})

Tried: TypeAlias = tuple[NDArray[np.floating], NDArray[np.bool_]]
"""A changed column [rows], or changed pixels [rows, width], and which rows may be changed so, [rows]."""


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """All rows changed in one way."""

    rows: FeatureBatch
    """[rows, width]"""
    legal: NDArray[np.bool_]
    """[rows]: the row is another one now, and one that a caller might send."""


def variants(
    manifest: Manifest, change: Mapping[str, ChangeEntry], rows: FeatureBatch, seed: int
) -> list[Variant]:
    """Every combination of the changes, each made to all rows.

    Args:
        manifest: of the model that will be asked.
        change: by feature name, or ``pixels``.
        rows: canonical rows, [rows, width].
        seed: of noise.

    Raises:
        BundleError: a column or a value is not the schema's, or there are more than ``MOST_VARIANTS``
            combinations; names the key.
    """
    if manifest.input.layout == "image":
        return [_variant(rows, changed, legal) for changed, legal in _pictures(manifest, change, rows, seed)]
    position = {entry.name: index for index, entry in enumerate(manifest.features)}
    for name in change:
        if name not in position:
            raise BundleError(f"change.{name}: the model has no such feature")
    columns = [position[name] for name in change]
    tried = [_column(manifest, index, change[manifest.features[index].name], rows) for index in columns]
    if (count := math.prod(map(len, tried))) > MOST_VARIANTS:
        raise BundleError(f"change: {count} combinations of values, {MOST_VARIANTS} at most")
    found = []
    for combination in itertools.product(*tried):
        changed = rows.copy()
        for column, (values, _) in zip(columns, combination, strict=True):
            changed[:, column] = values
        found.append(_variant(rows, changed, np.logical_and.reduce([legal for _, legal in combination])))
    return found


def _variant(rows: FeatureBatch, changed: FeatureBatch, legal: NDArray[np.bool_]) -> Variant:
    another = ~((changed == rows) | (np.isnan(changed) & np.isnan(rows))).all(axis=1)
    return Variant(changed, legal & another)


def _column(manifest: Manifest, index: int, change: ChangeEntry, rows: FeatureBatch) -> list[Tried]:
    entry, feature = manifest.features[index], manifest.spec.schema.features[index]
    words = bool(entry.categories)
    if change.way not in (ON_WORDS if words else ON_NUMBERS):
        kind = "words" if words else "numbers"
        raise BundleError(f"change.{entry.name}.{change.way}: not for {kind}")
    everyone = np.ones(len(rows), dtype=np.bool_)
    if change.way == "to":
        return [(np.full(len(rows), value), everyone) for value in _values(manifest, feature, change.to)]
    if change.way == "others":
        return [(np.full(len(rows), float(code)), everyone) for code in range(len(entry.categories))]
    return [_moved(entry, change, rows[:, index])]


def _values(manifest: Manifest, feature: Feature, given: Sequence[object]) -> list[float]:
    """The values in canonical form."""
    schema = replace(manifest.spec.schema, features=(feature,))
    try:
        return [float(row[0]) for row in canonical_rows(schema, {feature.name: list(given)})]
    except BundleError as error:
        raise BundleError(f"change.{feature.name}.to: value {str(error).removeprefix('row ')}") from error


def _moved(entry: FeatureEntry, change: ChangeEntry, column: NDArray[np.floating]) -> Tried:
    """Numbers added to or multiplied; those that leave the range are left alone."""
    whole = entry.type == "int64" or bool(entry.expect.whole)
    if whole and change.add is not None and change.add != int(change.add):
        raise BundleError(f"change.{entry.name}.add: {change.add:g} is no whole number, as the feature's are")
    moved = _arithmetic(change, column.astype(np.float64))
    if whole:
        moved = np.round(moved)
    low, high = entry.expect.range or entry.range or (-math.inf, math.inf)
    with np.errstate(over="ignore"):
        moved = moved.astype(column.dtype)
    return moved, np.isfinite(moved) & (moved >= low) & (moved <= high)  # a missing number is not finite


def _arithmetic(change: ChangeEntry, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    if change.add is not None:
        return numbers + change.add
    return numbers * (1.0 if change.times is None else change.times)


def _pictures(
    manifest: Manifest, change: Mapping[str, ChangeEntry], rows: FeatureBatch, seed: int
) -> Iterator[Tried]:
    """All pixels changed in one way; what leaves their range stops at its end, as in a camera."""
    for name in change:
        if name != PIXELS:
            raise BundleError(f"change.{name}: the model takes an image; change its {PIXELS}")
    entry, way = change[PIXELS], change[PIXELS].way
    if way not in ON_PIXELS:
        raise BundleError(f"change.{PIXELS}.{way}: not for an image")
    everyone = np.ones(len(rows), dtype=np.bool_)
    if way in ("shift", "flip"):
        taken = _rearranged(manifest, entry)
        yield rows[:, taken], everyone
        return
    if entry.noise is not None:
        drawn = np.random.default_rng(seed).normal(0.0, entry.noise, rows.shape)
        changed = rows.astype(np.float64) + drawn
    else:
        changed = _arithmetic(entry, rows.astype(np.float64))
    low, high = manifest.input.range or (-math.inf, math.inf)
    yield np.clip(changed, low, high).astype(rows.dtype), everyone


def _rearranged(manifest: Manifest, entry: ChangeEntry) -> NDArray[np.intp]:
    """From which canonical column each one takes its value, [width]."""
    places = pixel_columns(manifest.input.shape)
    if places is None:
        shape = list(manifest.input.shape)
        raise BundleError(f"change.{PIXELS}.{entry.way}: shape {shape} is not known to be a picture's")
    height, width, _ = places.shape
    down, right = entry.shift or (0, 0)
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    if entry.flip == "vertical":
        rows = rows[::-1]
    if entry.flip == "horizontal":
        columns = columns[::-1]
    taken = np.empty(places.size, dtype=np.intp)
    taken[places.ravel()] = places[np.ix_(rows, columns)].ravel()
    return taken
