"""What a graph does to its columns before the model itself: run alone, and shown to keep columns apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from service.adapters.graphs.network import CPU, Network, attributes
from service.adapters.onnx import feeder, open_session
from service.domain.explainers.game import Unsuitable
from service.domain.schema import Binding, FeatureBatch, Schema
from service.errors import InferenceError

Encoder: TypeAlias = Callable[[FeatureBatch], NDArray[Any]]
"""Canonical rows [rows, width] to the model's input [rows, columns]."""

CHECKED_ROWS = 64
CHECKED_CELLS = 2_000_000
"""At most so many numbers are encoded to check an encoder: wide ones are checked on fewer rows."""


def encoder_of(
    network: Network, name: str, sources: NDArray[np.intp], schema: Schema, binding: Binding
) -> Encoder:
    """Computes the tensor ``name`` from canonical rows; where that is the rows themselves, it costs nothing.

    Args:
        sources: of each column of the tensor, as ``columns.columns_of`` finds them.
    """
    if _is_the_rows(network, name, sources, schema):
        return lambda rows: rows
    session = open_session(network.cut(name), CPU)
    feed, wanted = feeder(schema, binding), [name]

    def encode(rows: FeatureBatch) -> NDArray[Any]:
        try:
            encoded: NDArray[Any] = session.run(wanted, feed(rows))[0]
        except Exception as error:  # ONNX Runtime raises many unrelated types
            raise InferenceError(f"the columns cannot be encoded: {error}") from error
        return encoded

    return encode


def check_columns(encode: Encoder, sources: NDArray[np.intp], rows: FeatureBatch, seed: int = 0) -> None:
    """Sees on rows that a canonical column changes only the encoded columns that are of it.

    Each column in turn is shuffled among the rows; a row is also encoded alone, lest rows touch each other.

    Raises:
        Unsuitable: it changes another.
    """
    width = rows.shape[1]
    count = max(2, min(CHECKED_ROWS, len(rows), CHECKED_CELLS // (width * (width + len(sources)))))
    rng = np.random.default_rng(seed)
    sample = rows[rng.permutation(len(rows))[:count]]
    plain = encode(sample)
    if plain.shape != (len(sample), len(sources)):
        raise Unsuitable(f"the encoded rows have shape {plain.shape}, not {(len(sample), len(sources))}")
    if not _same(encode(np.ascontiguousarray(sample[:1])), plain[:1]).all():
        raise Unsuitable("a row is encoded otherwise alone than among others")
    shuffled = np.repeat(sample[None], width, axis=0)
    for column in range(width):
        shuffled[column, :, column] = rng.permutation(sample[:, column])
    encoded = encode(shuffled.reshape(-1, width)).reshape(width, len(sample), -1)
    changed = np.asarray((~_same(encoded, plain)).any(axis=1))  # [canonical columns, encoded columns]
    changed[sources, np.arange(len(sources))] = False
    if changed.any():
        column, other = np.argwhere(changed)[0].tolist()
        raise Unsuitable(f"column {column} changes the encoded column {other}, which is of another")


def _is_the_rows(network: Network, name: str, sources: NDArray[np.intp], schema: Schema) -> bool:
    """Whether every number arrives at its own place as it was."""
    if schema.layout == "columns" or not np.array_equal(sources, np.arange(schema.width)):
        return False
    return all(
        node.op_type in ("Flatten", "Identity", "Reshape")
        or (node.op_type == "Cast" and attributes(node)["to"] == TensorProto.FLOAT)
        for node in network.above(name)
        if network.constant(node.output[0]) is None
    )


def _same(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Where two arrays agree to the rounding of one kernel or another; NaN agrees with NaN."""
    return np.isclose(one.astype(np.float64), other.astype(np.float64), rtol=1e-6, atol=1e-9, equal_nan=True)
