"""The second graphs of a bundle behind one call: reconstruction errors, quantiles, answers of members.

Such a graph takes the model's inputs by the same names, or some of them; its first output is what counts:

| graph          | answers, for a number of rows                                                          |
|----------------|----------------------------------------------------------------------------------------|
| reconstruction | [rows] or [rows, 1]                                                                    |
| quantiles      | [rows, 2]                                                                              |
| members        | [rows, members, outputs]; for a regression also [rows, members]; for two classes also  |
|                | [rows, members] or [rows, members, 1], the second class's probability                  |

With a number of passes, ``members`` is one network with live dropout that answers as the model does, and its
members are so many passes (Gal & Ghahramani 2016, "Dropout as a Bayesian approximation"). A row is repeated
once per pass in one run, so every pass draws masks of its own. A graph with an input for the training mode is
told True. A Dropout node with a ``seed`` draws the same sequence in every fresh session, and goes on in it
from run to run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.adapters.onnx import feeder, open_session
from service.domain.schema import Binding, FeatureBatch, ModelSpec
from service.domain.uncertainty.measure import Graph, Run
from service.errors import BundleError, InferenceError

CELLS = 1 << 20
"""Input numbers of one run: intermediate results of more would not fit a small container."""
MOST_ROWS = 4096
"""Rows of one run, passes counted."""

DROPOUT = "EliminateDropout"
"""ONNX Runtime's optimizer that takes Dropout out even where the training mode is on, so that all passes
would answer the same."""

_TRIAL_ROWS = 2  # with one, a graph that takes a single row would pass

Answers: TypeAlias = NDArray[np.floating[Any]]


def open_graphs(
    paths: Mapping[Graph, Path],
    spec: ModelSpec,
    binding: Binding,
    passes: int = 0,
    providers: Sequence[str] = (),
    threads: int = 1,
) -> tuple[frozenset[Graph], Run]:
    """The graphs there are, and what runs them; from several threads at once where need be.

    Args:
        paths: where each graph lies.
        spec: the model's.
        binding: the model's.
        passes: of ``members`` with live dropout; 0 where its members are separate.
        providers: execution providers to try in order; empty means CUDA where it works, else CPU.
        threads: threads of one run.

    Raises:
        BundleError: a graph does not load, takes what the model does not, or cannot answer what it should.
    """
    graphs = {
        name: SecondGraph(name, path, spec, binding, passes if name == "members" else 0, providers, threads)
        for name, path in paths.items()
    }

    def run(graph: Graph, rows: FeatureBatch) -> Answers:
        found = graphs.get(graph)
        if found is None:
            raise InferenceError(f"{spec.tag} has no graph of {graph}")
        return found(rows)

    return frozenset(graphs), run


class SecondGraph:
    """One loaded second graph; arguments and errors as for ``open_graphs``."""

    def __init__(
        self,
        name: Graph,
        path: Path,
        spec: ModelSpec,
        binding: Binding,
        passes: int = 0,
        providers: Sequence[str] = (),
        threads: int = 1,
    ) -> None:
        self._what = f"the graph of {name} of {spec.tag}"
        self._name, self._spec, self._passes = name, spec, passes
        self._session = open_session(path, providers, threads, without=[DROPOUT] if passes else [])
        self._feed = feeder(spec.schema, binding)
        self._inputs, self._mode = self._read_inputs(binding)
        self._output = self._session.get_outputs()[0].name
        try:
            self._run(np.zeros((_TRIAL_ROWS, spec.schema.width), spec.schema.dtype))
        except InferenceError as error:
            raise BundleError(f"{path}: {error}") from error

    def __call__(self, rows: FeatureBatch) -> Answers:
        """As ``service.domain.uncertainty.measure.Run`` says; any number of rows, run in chunks.

        A reconstruction error may be infinite or no number: squares of a row far out run over, and the
        measure takes that for as strange as can be.

        Raises:
            InferenceError: the graph failed, or its answer has the wrong shape or, where it is no
                reconstruction error, is no number for some row.
        """
        rows = np.ascontiguousarray(rows, self._spec.schema.dtype)
        step = max(1, min(MOST_ROWS, CELLS // rows.shape[1]) // max(1, self._passes))
        parts = [self._run(rows[at : at + step]) for at in range(0, len(rows) or 1, step)]
        found = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if self._name == "reconstruction":
            return found
        finite = np.isfinite(found).all(axis=tuple(range(1, found.ndim)))
        if not finite.all():
            row = int((~finite).argmax())
            raise InferenceError(f"{self._what} answers {found[row].ravel()[:10].tolist()} for row {row}")
        return found

    def _read_inputs(self, binding: Binding) -> tuple[list[str], dict[str, NDArray[np.bool_]]]:
        """The model's inputs that the graph takes, and what tells it that it is to drop out."""
        inputs = self._session.get_inputs()
        mode = {
            node.name: np.ones([1] * len(node.shape), dtype=bool)
            for node in inputs
            if node.type == "tensor(bool)" and node.name not in binding.inputs
        }
        known = {*binding.inputs, *(mode if self._passes else ())}
        unknown = sorted(node.name for node in inputs if node.name not in known)
        if unknown:
            raise BundleError(
                f"{self._what} takes {unknown[0]!r}; inputs of the model are {sorted(binding.inputs)}"
            )
        return [node.name for node in inputs if node.name not in mode], mode

    def _run(self, rows: FeatureBatch) -> Answers:
        given = self._feed(np.repeat(rows, self._passes, axis=0) if self._passes else rows)
        feeds = {name: given[name] for name in self._inputs} | self._mode
        try:
            raw = np.asarray(self._session.run([self._output], feeds)[0])
        except Exception as error:  # ONNX Runtime raises many unrelated types
            raise InferenceError(f"{self._what} failed: {error}") from error
        if raw.dtype.kind != "f":
            raise InferenceError(f"{self._what} answers {raw.dtype} first, expected floating-point numbers")
        found, wanted = self._shaped(raw, len(rows))
        if found.shape != wanted:
            raise InferenceError(
                f"{self._what} answers shape {list(raw.shape)} for {len(rows)} rows"
                f"{f' of {self._passes} passes' if self._passes else ''}, which is not {list(wanted)}"
            )
        return found

    def _shaped(self, raw: NDArray[Any], rows: int) -> tuple[NDArray[Any], tuple[int, ...]]:
        """The answer as far as it can be brought into ``Run``'s shape, and that shape."""
        if self._name == "members":
            return self._members(raw, rows)
        if self._name == "quantiles":
            return raw, (rows, 2)
        return raw[:, 0] if raw.shape == (rows, 1) else raw, (rows,)

    def _members(self, raw: NDArray[Any], rows: int) -> tuple[NDArray[Any], tuple[int, ...]]:
        outputs, members = self._spec.outputs, self._passes
        if members and raw.shape[:1] == (rows * members,) and raw.ndim <= 2:
            raw = raw.reshape(rows, members, *(raw.shape[1:] or (1,)))
        elif not members:
            members = raw.shape[1] if raw.ndim > 1 else 1
            if raw.ndim == 2 and outputs <= 2:
                raw = raw[:, :, None]
        if outputs == 2 and raw.shape == (rows, members, 1):
            raw = np.concatenate([1 - raw, raw], axis=2)
        return raw, (rows, members, outputs)
