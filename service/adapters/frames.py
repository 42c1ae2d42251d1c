"""The datagrams between the edge and the shadow: MessagePack, raw little-endian arrays inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple, TypeAlias

import msgspec
import numpy as np

from service.adapters.ledger import SENDERS
from service.domain.observation import Mirrored, Parts, ShadowBatch
from service.domain.schema import ModelSpec

VERSION = 2
OVERHEAD = 44
"""Bytes of framing that one request adds at most, beside its id and its arrays."""

NOTHING: tuple[tuple[()], ...] = ((), (), (), (), (), (), ())

Rows: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
Answerer: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=256)]


class Frame(NamedTuple):
    """One datagram, column by column. One without requests is a heartbeat: it only says ``first``."""

    version: int
    sender: Annotated[int, msgspec.Meta(ge=0, lt=SENDERS)]
    first: Rows
    """Rows that the sender had handed over before this frame."""
    request_ids: list[str]
    """One for each request, or part of one."""
    counts: list[Rows]
    """Rows of each request, or part."""
    firsts: list[Rows]
    """Rows of its request before the first of these."""
    totals: list[Rows]
    """Rows of its whole request."""
    answerers: list[Answerer]
    """Who answered it: 0 is production, i the i-th candidate."""
    values: bytes
    """Canonical rows of all requests, C order, production's dtype."""
    scores: bytes
    """float32 scores of all rows, C order."""

    @property
    def rows(self) -> int:
        """Rows of all requests."""
        return sum(self.counts)


class Packed(NamedTuple):
    """One answered request, or part of one, ready to travel."""

    request_id: str
    rows: int
    first: int
    total: int
    answerer: int
    values: bytes
    scores: bytes

    @property
    def size(self) -> int:
        """Bytes in a frame, at most."""
        return len(self.values) + len(self.scores) + len(self.request_id) + OVERHEAD


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)


def pack(item: Mirrored) -> Packed:
    """A request ready to travel; done for each as it comes, so that a whole frame is made in no time."""
    name, answerer, rows, scores, first, total = item
    count = len(rows)
    return Packed(name, count, first, total or count, answerer, rows.tobytes(), scores.tobytes())


def encode(sender: int, first: int, requests: Sequence[Packed]) -> bytes:
    """The datagram that carries ``requests``."""
    *columns, values, scores = zip(*requests, strict=True) if requests else NOTHING
    return _encoder.encode((VERSION, sender, first, *columns, b"".join(values), b"".join(scores)))


def decode(datagram: bytes | memoryview) -> Frame:
    """The frame in a datagram; raises ``ValueError`` where it is not one of this version."""
    try:
        frame = _decoder.decode(datagram)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    if frame.version != VERSION:
        raise ValueError(f"frame version {frame.version}, this shadow reads {VERSION}")
    return frame


def batch_of(frame: Frame, spec: ModelSpec, received: float) -> ShadowBatch:
    """The rows of a frame that has some, in production's canonical form.

    Raises:
        ValueError: an array does not fit ``spec``; the edge serves another model.
    """
    columns = (frame.request_ids, frame.counts, frame.firsts, frame.totals, frame.answerers)
    if len({len(column) for column in columns}) > 1:
        raise ValueError("the frame's columns differ in length")
    rows = frame.rows
    values = np.frombuffer(frame.values, dtype=spec.schema.dtype)
    scores = np.frombuffer(frame.scores, dtype=np.float32)
    return ShadowBatch(
        rows=values.reshape(rows, spec.schema.width),
        scores=scores.reshape(rows, spec.outputs),
        answerers=np.repeat(np.array(frame.answerers, dtype=np.uint8), frame.counts),
        senders=np.full(rows, frame.sender, dtype=np.int16),
        received=received,
        origin=parts_of(frame).origin(),
    )


def parts_of(frame: Frame) -> Parts:
    """Which request each row of a frame belongs to, where its columns are equally long."""
    return Parts(
        tuple(frame.request_ids),
        np.array(frame.counts, dtype=np.int64),
        np.array(frame.firsts, dtype=np.int64),
        np.array(frame.totals, dtype=np.int64),
    )
