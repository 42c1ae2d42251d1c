"""Rows that a model should not know, made from the demo's data.

They are of three kinds: rows of another data set, brought to the same mean and spread in every column;
held-out rows whose columns were shuffled one by one; and a slice of the held-out rows that was moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
from scipy.stats import rankdata

from models.bundle import Bundle
from models.canonical import canonical_rows
from models.demo import credit, toy_models
from service.adapters.second_graphs import open_graphs
from service.domain.schema import FeatureBatch, ModelSpec, Schema
from service.domain.uncertainty.measure import Graph, Material


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A model's data."""

    tag: str
    material: Material
    held_out: FeatureBatch
    elsewhere: FeatureBatch
    """Rows of another data set, in that one's own columns."""


def strangers(case: Case, rng: np.random.Generator) -> dict[str, FeatureBatch]:
    """Rows that the model should not know, by kind."""
    return {
        "another data set": mapped(case, rng),
        "columns shuffled": rng.permuted(case.held_out, axis=0),
        "a slice moved": moved(case),
    }


def mapped(case: Case, rng: np.random.Generator) -> FeatureBatch:
    """Rows from elsewhere in this model's columns, as many as are held out.

    A number gets the mean and the spread of its column, within the column's range; a category takes the place
    that its rank among the rows has among the categories' shares.
    """
    reference, source = case.material.reference, case.elsewhere[:, case.elsewhere.std(axis=0) > 0]
    drawn = source[rng.integers(0, len(source), len(case.held_out))]
    scaled = (drawn - source.mean(axis=0)) / source.std(axis=0)
    found = np.empty_like(case.held_out)
    for column in range(reference.shape[1]):
        values = scaled[:, column % scaled.shape[1]]
        known = np.sort(reference[~np.isnan(reference[:, column]), column].astype(np.float64))
        if _is_category(case.material.spec.schema, column):
            place = (rankdata(values, "ordinal") - 0.5) / len(values) * len(known)
            found[:, column] = known[place.astype(np.intp)]
        else:
            found[:, column] = np.clip(known.mean() + known.std() * values, known[0], known[-1])
    return found


def moved(case: Case) -> FeatureBatch:
    """The held-out rows above the median of their first column, every number one standard deviation up.

    Images, all of them, move one pixel to the right.
    """
    spec, reference = case.material.spec, case.material.reference.astype(np.float64)
    if spec.schema.layout == "image":
        pictures = case.held_out.reshape(-1, *spec.schema.shape)
        return np.roll(pictures, 1, axis=-1).reshape(case.held_out.shape)
    found = case.held_out[case.held_out[:, 0] > np.median(case.held_out[:, 0])].copy()
    for column in range(reference.shape[1]):
        if not _is_category(spec.schema, column):
            found[:, column] += np.nanstd(reference[:, column])
    return found


def case_of(bundle: Bundle) -> Case:
    """The data of one of the demo's bundles, as packaging gives it to the measures."""
    paths = {graph: path for graph in get_args(Graph) if (path := bundle.graph_path(graph)) is not None}
    graphs, run = open_graphs(paths, bundle.spec, bundle.binding, providers=("CPUExecutionProvider",))
    rows, scores, labels = bundle.calibration()
    material = Material(bundle.spec, rows, scores, labels, bundle.background(), graphs, run)
    elsewhere = toy_models.held_out("digits" if bundle.spec.name == "cancer" else "cancer")
    return Case(bundle.spec.tag, material, _held_out(bundle.spec), elsewhere)


def _held_out(spec: ModelSpec) -> FeatureBatch:
    """Rows that took part in no bundle."""
    if spec.name == "credit":
        return canonical_rows(spec.schema, credit.table("held_out"))
    return toy_models.held_out(spec.name)


def _is_category(schema: Schema, column: int) -> bool:
    return bool(schema.features) and bool(schema.features[column].categories)
