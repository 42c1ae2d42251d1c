"""A candidate's view of production's canonical rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import Feature, FeatureBatch, ModelSpec
from service.errors import ConfigurationError

Projection: TypeAlias = Callable[[FeatureBatch], FeatureBatch]


def projection(production: ModelSpec, candidate: ModelSpec) -> Projection:
    """Canonical rows of ``production`` to canonical rows of ``candidate``.

    A candidate may use fewer features, another order, another dtype and more categories. It must
    accept every row that production accepts, and answer the same classes in the same order.

    Raises:
        ConfigurationError: the candidate could not answer some request that production accepts;
            names the first difference.
    """
    _same_answers(production, candidate)
    dtype = candidate.schema.dtype
    if candidate.schema.layout == "image" or production.schema.layout == "image":
        if (
            candidate.schema.layout != production.schema.layout
            or candidate.schema.shape != production.schema.shape
        ):
            raise ConfigurationError(f"{candidate.tag} takes another tensor than {production.tag}")
        return lambda rows: rows
    if candidate.schema.features == production.schema.features and dtype == production.schema.dtype:
        return lambda rows: rows
    position = {name: index for index, name in enumerate(production.schema.names())}
    order: list[int] = []
    recodings: list[tuple[int, NDArray[np.floating]]] = []
    for index, wanted in enumerate(candidate.schema.features):
        if wanted.name not in position:
            raise ConfigurationError(
                f"{candidate.tag} needs feature {wanted.name!r}, which {production.tag} does not have"
            )
        given = production.schema.features[position[wanted.name]]
        _accepts(candidate, wanted, given)
        order.append(position[wanted.name])
        if wanted.categories != given.categories:
            table = [wanted.categories.index(word) for word in given.categories]
            recodings.append((index, np.array([*table, np.nan], dtype=dtype)))
    return partial(_project, order=np.array(order), recodings=tuple(recodings), dtype=dtype)


def _project(
    rows: FeatureBatch,
    *,
    order: NDArray[np.intp],
    recodings: tuple[tuple[int, NDArray[np.floating]], ...],
    dtype: np.dtype[np.floating],
) -> FeatureBatch:
    view = np.ascontiguousarray(rows[:, order], dtype=dtype)
    for column, table in recodings:
        codes = np.nan_to_num(view[:, column], nan=len(table) - 1).astype(np.intp)
        view[:, column] = table[codes]
    return view


def _same_answers(production: ModelSpec, candidate: ModelSpec) -> None:
    if (candidate.task, candidate.classes) != (production.task, production.classes):
        raise ConfigurationError(
            f"{candidate.tag} answers {candidate.task} {list(candidate.classes)}, "
            f"{production.tag} answers {production.task} {list(production.classes)}"
        )


def _accepts(candidate: ModelSpec, wanted: Feature, given: Feature) -> None:
    where = f"{candidate.tag}, feature {wanted.name!r}"
    if (wanted.type == "string") != (given.type == "string"):
        raise ConfigurationError(f"{where}: takes {wanted.type}, production takes {given.type}")
    if wanted.type == "int64" and given.type != "int64":
        raise ConfigurationError(f"{where}: takes int64, production accepts fractions")
    if given.missing and not wanted.missing:
        raise ConfigurationError(f"{where}: refuses missing values, which production allows")
    unknown = [word for word in given.categories if word not in wanted.categories]
    if unknown:
        raise ConfigurationError(f"{where}: does not know category {unknown[0]!r}")
