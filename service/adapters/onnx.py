"""ONNX Runtime behind one call: canonical rows in, scores out, with a deadline.

A run is stopped by setting ``RunOptions.terminate`` from another thread; ONNX Runtime looks at it
between graph nodes and loop iterations, so a stuck graph ends at its next node.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.domain.schema import Binding, FeatureBatch, ModelSpec, Schema, Scores
from service.errors import BundleError, DeadlineError, InferenceError

_CUDA = "CUDAExecutionProvider"
_ERROR, _FATAL = 3, 4  # ONNX Runtime's log levels
ort.set_default_logger_severity(_ERROR)  # its warnings name devices that this machine need not have

log = logging.getLogger("understudy.onnx")

Feed = Callable[[FeatureBatch], dict[str, NDArray[Any]]]


class OnnxModel:
    """One loaded graph.

    Args:
        path: the ``model.onnx`` file.
        spec: what the model takes and answers.
        binding: the graph's own names.
        providers: execution providers to try in order; empty means CUDA where it works, else CPU.
        threads: threads of one run; 1 keeps a worker on its core.

    Raises:
        BundleError: the file is not a graph ONNX Runtime can load, or lacks a bound name.
    """

    def __init__(
        self,
        path: Path,
        spec: ModelSpec,
        binding: Binding,
        *,
        providers: Sequence[str] = (),
        threads: int = 1,
    ) -> None:
        self.spec = spec
        self._session = open_session(path, providers, threads)
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        self._check_names(path, binding)
        self._outputs = [binding.output]
        self._kind = binding.output_kind
        self._feed = feeder(spec.schema, binding)

    def predict(self, batch: FeatureBatch, stop: ort.RunOptions | None = None) -> Scores:
        """Scores of every row; float32 [rows, spec.outputs].

        Raises:
            DeadlineError: ``stop.terminate`` was set while the graph ran.
            InferenceError: the graph failed, or its output has the wrong shape.
        """
        try:
            raw = self._session.run(self._outputs, self._feed(batch), stop)[0]
        except Exception as error:  # ONNX Runtime raises many unrelated types
            if stop is not None and stop.terminate:
                raise DeadlineError(f"{self.spec.tag} was stopped at its deadline") from error
            raise InferenceError(f"{self.spec.tag} failed: {error}") from error
        return _scores(raw, self._kind, len(batch), self.spec)

    def _check_names(self, path: Path, binding: Binding) -> None:
        inputs = {node.name for node in self._session.get_inputs()}
        outputs = {node.name: node.type for node in self._session.get_outputs()}
        if set(binding.inputs) != inputs:
            raise BundleError(
                f"{path}: graph inputs are {sorted(inputs)}, manifest binds {sorted(binding.inputs)}"
            )
        if binding.output not in outputs:
            raise BundleError(
                f"{path}: graph outputs are {sorted(outputs)}, manifest binds {binding.output!r}"
            )
        if outputs[binding.output].startswith("seq("):
            raise BundleError(
                f"{path}: output {binding.output!r} is a list of dictionaries; convert with zipmap=False"
            )
        if outputs[binding.output] == "tensor(string)":
            raise BundleError(f"{path}: output {binding.output!r} is tensor(string), expected numbers")


class Watchdog:
    """Ends runs at their deadline from one daemon thread; a run pays about 0.5 µs for it.

    The thread looks every ``tick`` seconds, so a run ends at most one tick plus one graph node after
    its deadline.
    """

    def __init__(self, tick: float = 0.02) -> None:
        self._tick = tick
        self._runs: dict[int, tuple[float, ort.RunOptions]] = {}
        threading.Thread(target=self._watch, name="deadline-watchdog", daemon=True).start()

    def predict(self, model: OnnxModel, batch: FeatureBatch, due: float) -> Scores:
        """``model.predict(batch)``, stopped once ``time.monotonic()`` passes ``due``.

        Raises:
            DeadlineError: the run was stopped.
            InferenceError: see ``OnnxModel.predict``.
        """
        options = ort.RunOptions()
        self._runs[id(options)] = (due, options)
        try:
            return model.predict(batch, options)
        finally:
            del self._runs[id(options)]

    def _watch(self) -> None:
        while True:
            time.sleep(self._tick)
            now = time.monotonic()
            for due, options in list(self._runs.values()):
                if now > due:
                    options.terminate = True


def warm_up(model: OnnxModel, batch: FeatureBatch, seconds: float = 0.2) -> float:
    """Runs ``batch`` until its time settles; returns the median seconds of one run."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 200):
        start = time.perf_counter()
        model.predict(batch)
        times.append(time.perf_counter() - start)
    return float(np.median(times[len(times) // 2 :]))


def open_session(
    graph: Path | bytes, providers: Sequence[str] = (), threads: int = 1, *, without: Sequence[str] = ()
) -> ort.InferenceSession:
    """A session over a file or a graph's bytes; providers and threads as for ``OnnxModel``.

    Args:
        without: ONNX Runtime's optimizers to leave out, by name.

    Raises:
        BundleError: ONNX Runtime cannot load it, or not on these providers.
    """
    source = "a graph made of the model" if isinstance(graph, bytes) else graph
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    wanted = list(providers) or _default_providers()
    if _CUDA in wanted:
        _load_cuda()
    if not providers:  # trying CUDA where its libraries are absent is how we choose, not an error to print
        ort.set_default_logger_severity(_FATAL)
    try:
        session = ort.InferenceSession(
            graph, options, providers=wanted, disabled_optimizers=[*without] or None
        )
    except Exception as error:  # ONNX Runtime raises many unrelated types
        raise BundleError(f"{source}: ONNX Runtime cannot load it: {error}") from error
    finally:
        ort.set_default_logger_severity(_ERROR)
    lost = [name for name in providers if name not in session.get_providers()]
    if lost:
        raise BundleError(f"{source}: provider {lost[0]} was asked for and does not work on this machine")
    return session


def _default_providers() -> list[str]:
    """CUDA first where the build has it: ONNX Runtime falls back to CPU where no GPU answers."""
    cuda = [name for name in (_CUDA,) if name in ort.get_available_providers()]
    return [*cuda, "CPUExecutionProvider"]


@cache
def _load_cuda() -> None:
    """Loads CUDA and cuDNN from NVIDIA's wheels, where they are installed: the system does not look there."""
    if find_spec("nvidia") is None:
        return
    said = io.StringIO()
    with contextlib.redirect_stdout(said):  # it prints what it misses
        ort.preload_dlls()
    for line in said.getvalue().splitlines():
        log.warning("CUDA: %s", line)


def feeder(schema: Schema, binding: Binding) -> Feed:
    """From canonical rows to the graph's inputs by name."""
    name = binding.inputs[0]
    if schema.layout == "tensor":
        return lambda batch: {name: batch}
    if schema.layout == "image":
        return lambda batch: {name: batch.reshape(-1, *schema.shape)}
    columns = [
        (name, index, _caster(feature.type, feature.categories))
        for index, (name, feature) in enumerate(zip(binding.inputs, schema.features, strict=True))
    ]
    return lambda batch: {name: cast(batch[:, index : index + 1]) for name, index, cast in columns}


def _caster(kind: str, categories: tuple[str, ...]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    if kind == "float":
        return lambda column: column.astype(np.float32)
    if kind == "int64":
        return lambda column: column.astype(np.int64)
    words = np.array([*categories, ""], dtype=object)  # ONNX strings have no null: missing is ""
    return lambda column: words[np.where(np.isnan(column), len(categories), column).astype(np.intp)]


def _scores(raw: Any, kind: str, rows: int, spec: ModelSpec) -> Scores:
    scores = np.asarray(raw)
    if scores.ndim == 1:
        scores = scores[:, None]
    if kind == "positive_probability" and scores.ndim == 2 and scores.shape[1] == 1:
        scores = np.concatenate([1 - scores, scores], axis=1)
    if scores.shape != (rows, spec.outputs):
        raise InferenceError(
            f"{spec.tag} answered shape {scores.shape} for {rows} rows, expected {(rows, spec.outputs)}"
        )
    return scores.astype(np.float32, copy=False)
