"""The datagrams between the edge and the shadow: MessagePack, raw little-endian arrays inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple, TypeAlias

import msgspec
import numpy as np

from service.adapters.ledger import SENDERS
from service.domain.observation import Mirrored, ShadowBatch
from service.domain.schema import ModelSpec

VERSION = 1
OVERHEAD = 24
"""Bytes of framing that one request adds at most, beside its id and its arrays."""

NOTHING: tuple[tuple[()], ...] = ((), (), (), (), ())

Rows: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


class Frame(NamedTuple):
    """One datagram, column by column. One without requests is a heartbeat: it only says ``first``."""

    version: int
    sender: Annotated[int, msgspec.Meta(ge=0, lt=SENDERS)]
    first: Rows
    """Rows that the sender had handed over before this frame."""
    request_ids: list[str]
    """One for each request, or part of one."""
    counts: list[Rows]
    """Rows of each request."""
    canary: list[bool]
    """Whether the canary answered it."""
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
    canary: bool
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
    return Packed(
        item.request_id, len(item.rows), item.arm == "canary", item.rows.tobytes(), item.scores.tobytes()
    )


def encode(sender: int, first: int, requests: Sequence[Packed]) -> bytes:
    """The datagram that carries ``requests``."""
    ids, counts, canary, values, scores = zip(*requests, strict=True) if requests else NOTHING
    frame = (VERSION, sender, first, ids, counts, canary, b"".join(values), b"".join(scores))
    return _encoder.encode(frame)


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
    if not len(frame.request_ids) == len(frame.counts) == len(frame.canary):
        raise ValueError("the frame's columns differ in length")
    rows = frame.rows
    values = np.frombuffer(frame.values, dtype=spec.schema.dtype)
    scores = np.frombuffer(frame.scores, dtype=np.float32)
    return ShadowBatch(
        rows=values.reshape(rows, spec.schema.width),
        scores=scores.reshape(rows, spec.outputs),
        canary=np.repeat(frame.canary, frame.counts),
        senders=np.full(rows, frame.sender, dtype=np.int16),
        received=received,
        request_ids=tuple(frame.request_ids),
    )
