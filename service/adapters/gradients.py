"""The derivative of a model, as a graph beside the model's own: ONNX Runtime itself differentiates nothing.

``models.gradients`` makes such a graph at packaging and proves it by finite differences. It takes the model's
own inputs and ``SEED``, float32 [rows, outputs]; it answers, float32:

- ``BY_INPUT`` [rows, width]: sum over outputs of seed * d(margin) / d(input);
- ``MARGINS`` [rows, outputs]: log-odds of every class against all others, or the value of a regression;
- where the graph has convolutions, ``MAPS`` and ``BY_MAPS`` [rows, channels, *spatial]: the last
  convolution's feature maps, and the same derivative by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.adapters.onnx import feeder, open_session
from service.domain.schema import Binding, FeatureBatch, ModelSpec
from service.errors import BundleError, InferenceError

PREFIX = "gradient/"
SEED, BY_INPUT, MARGINS, MAPS, BY_MAPS = (
    PREFIX + name for name in ("seed", "by_input", "margins", "maps", "by_maps")
)

CELLS = 1 << 22
"""Input numbers of one run: intermediate results of more would not fit a small container."""
MOST_ROWS = 1024


class OnnxGradient:
    """``game.Gradient`` by ONNX Runtime; any number of rows, run in chunks.

    Args:
        graph: a graph made by ``models.gradients``, or where it lies.
        spec: the model's.
        binding: the model's.
        providers: execution providers to try in order; empty means CUDA where it works, else CPU.

    Raises:
        BundleError: it is no such graph, or ONNX Runtime cannot load it.
    """

    def __init__(
        self, graph: Path | bytes, spec: ModelSpec, binding: Binding, providers: Sequence[str] = ()
    ) -> None:
        self._spec = spec
        self._session = open_session(graph, providers)
        self._feed = feeder(spec.schema, binding)
        inputs = {node.name for node in self._session.get_inputs()}
        outputs = {node.name for node in self._session.get_outputs()}
        if inputs != {*binding.inputs, SEED} or not {BY_INPUT, MARGINS} <= outputs:
            raise BundleError(f"the gradient graph of {spec.tag} has inputs {sorted(inputs)}")
        self.has_maps: bool = {MAPS, BY_MAPS} <= outputs

    def __call__(self, rows: FeatureBatch, label: int) -> NDArray[np.float32]:
        """d(margin of ``label``) / d(input) at each row, float32 [rows, width].

        Raises:
            InferenceError: the graph failed.
        """
        (by_input,) = self._run([BY_INPUT], rows, label)
        return by_input

    def margins(self, rows: FeatureBatch) -> NDArray[np.float32]:
        """Log-odds of every class, or the regression's value; float32 [rows, outputs]."""
        (margins,) = self._run([MARGINS], rows, 0)
        return margins

    def maps(self, rows: FeatureBatch, label: int) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """The last convolution's feature maps and the margin's derivative by them, or None without any."""
        if not self.has_maps:
            return None
        maps, by_maps = self._run([MAPS, BY_MAPS], rows, label)
        return maps, by_maps

    def _run(self, outputs: list[str], rows: FeatureBatch, label: int) -> list[NDArray[np.float32]]:
        schema = self._spec.schema
        rows = np.ascontiguousarray(rows, schema.dtype)
        step = max(1, min(MOST_ROWS, CELLS // schema.width))
        chunks = [self._chunk(outputs, rows[at : at + step], label) for at in range(0, len(rows) or 1, step)]
        return (
            chunks[0] if len(chunks) == 1 else [np.concatenate(parts) for parts in zip(*chunks, strict=True)]
        )

    def _chunk(self, outputs: list[str], rows: FeatureBatch, label: int) -> list[NDArray[np.float32]]:
        seed = np.zeros((len(rows), self._spec.outputs), np.float32)
        seed[:, label] = 1
        try:
            found: list[NDArray[np.float32]] = self._session.run(outputs, {**self._feed(rows), SEED: seed})
        except Exception as error:  # ONNX Runtime raises many unrelated types
            raise InferenceError(f"the gradient of {self._spec.tag} failed: {error}") from error
        return found


def load_gradient(
    path: Path, spec: ModelSpec, binding: Binding, providers: Sequence[str] = ()
) -> OnnxGradient:
    """The gradient that lies at ``path``; see ``OnnxGradient``."""
    return OnnxGradient(path, spec, binding, providers)


def run_graph(graph: bytes, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Every output of a graph by name, on the CPU.

    Raises:
        BundleError: ONNX Runtime cannot load it.
        InferenceError: it cannot run on these inputs.
    """
    session = open_session(graph, ("CPUExecutionProvider",))
    names = [node.name for node in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))
    except Exception as error:  # ONNX Runtime raises many unrelated types
        raise InferenceError(f"the graph failed: {error}") from error
