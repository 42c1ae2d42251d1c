"""How sure an answer is, as JSON: one object for each row, from arrays with one entry per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from service.domain.schema import ModelSpec
from service.domain.uncertainty.quantifier import Quantified
from service.http.codec import PerModel

MOST_FRAMES = 256
"""Confidences come from callers, so the kept frames start over at so many."""
FEW_CLASSES = 6
"""Up to so many, every possible set is written beforehand."""
SPREAD = ("total", "aleatoric", "epistemic")


class _Words(NamedTuple):
    """What a model's documents have in common."""

    classes: list[bytes]
    """Each class as JSON."""
    sets: dict[tuple[bool, ...], bytes]
    """Each set of classes as JSON, where there are few."""
    by_class: bytes
    """An object with a place for each class's number."""


def _make_words(spec: ModelSpec) -> _Words:
    classes = [orjson.dumps(name) for name in spec.classes]
    masks = product((False, True), repeat=len(classes)) if len(classes) <= FEW_CLASSES else ()
    places = b",".join(name.replace(b"%", b"%%") + b":%b" for name in classes)
    return _Words(classes, {mask: _set(classes, mask) for mask in masks}, b"{" + places + b"}")


def _set(classes: Sequence[bytes], mask: Sequence[bool]) -> bytes:
    return b"[" + b",".join([name for name, inside in zip(classes, mask, strict=True) if inside]) + b"]"


class _Frame(NamedTuple):
    """The documents of rows that were asked the same."""

    template: bytes
    columns: tuple[str, ...]
    """What belongs into each of its places."""


_words = PerModel(_make_words)
_frames: dict[tuple[Any, ...], _Frame] = {}


def encode_doubts(spec: ModelSpec, found: Quantified) -> list[bytes]:
    """What there is to say about each row; numbers have the precision of float32."""
    key = (*found.columns, found.confidence, found.region, found.degraded)
    frame = _frames.get(key)
    if frame is None:
        if len(_frames) >= MOST_FRAMES:
            _frames.clear()
        frame = _frames[key] = _make_frame(found)
    words = _words(spec)
    with np.errstate(over="ignore"):  # a number too large for float32 is as good as infinite
        written = [_WRITERS[name](words, found.columns[name]) for name in frame.columns]
    return [frame.template % row for row in zip(*written, strict=True)]


def _make_frame(found: Quantified) -> _Frame:
    parts: list[bytes] = []
    columns: list[str] = []

    def add(*names: str) -> None:
        for name in names:
            if name in found.columns:
                parts.append(b'"%b":%%b' % name.encode())
                columns.append(name)

    add("set", "interval", "p_values")
    if found.region is not None:
        said = {"confidence": found.confidence, "region": found.region, "degraded": found.degraded}
        parts.append(orjson.dumps(said)[1:-1].replace(b"%", b"%%"))
    add("calibrated", "venn_abers", "in_domain", "domain_score", "domain_percentile", "entropy")
    if set(SPREAD) <= found.columns.keys():
        parts.append(b'"spread":{"total":%b,"aleatoric":%b,"epistemic":%b}')
        columns += SPREAD
    return _Frame(b"{" + b",".join(parts) + b"}", tuple(columns))


def _sets(words: _Words, mask: NDArray[Any]) -> Sequence[bytes]:
    if words.sets:
        return [words.sets[tuple(row)] for row in mask.tolist()]
    return [_set(words.classes, row) for row in mask.tolist()]


def _numbers(_: _Words, values: NDArray[Any]) -> Sequence[bytes]:
    """One for each entry; what is infinite or unknown is null."""
    text = orjson.dumps(values.astype(np.float32), option=orjson.OPT_SERIALIZE_NUMPY)
    return text[1:-1].split(b",")


def _pairs(words: _Words, values: NDArray[Any]) -> Sequence[bytes]:
    numbers = _numbers(words, values.ravel())
    return [b"[%b,%b]" % pair for pair in zip(numbers[::2], numbers[1::2], strict=True)]


def _by_class(words: _Words, values: NDArray[Any]) -> Sequence[bytes]:
    numbers = _numbers(words, values.ravel())
    return [words.by_class % row for row in zip(*[iter(numbers)] * len(words.classes), strict=True)]


def _flags(_: _Words, values: NDArray[Any]) -> Sequence[bytes]:
    return [b"true" if value else b"false" for value in values.tolist()]


_WRITERS: dict[str, Callable[[_Words, NDArray[Any]], Sequence[bytes]]] = {
    "set": _sets,
    "interval": _pairs,
    "p_values": _by_class,
    "calibrated": _by_class,
    "venn_abers": _pairs,
    "in_domain": _flags,
    "domain_score": _numbers,
    "domain_percentile": _numbers,
    "entropy": _numbers,
    **dict.fromkeys(SPREAD, _numbers),
}
