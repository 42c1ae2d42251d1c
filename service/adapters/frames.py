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
OVERHEAD = 64
"""Bytes of framing that one request adds at most, beside its id and its arrays."""


Rows: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


class Entry(NamedTuple):
    """One request, or a part of one."""

    request_id: str
    canary: bool
    rows: Rows
    values: bytes
    """Canonical rows, C order, production's dtype."""
    scores: bytes
    """float32, C order."""


class Frame(NamedTuple):
    """One datagram. A frame without entries is a heartbeat: it only says ``first``."""

    version: int
    sender: Annotated[int, msgspec.Meta(ge=0, lt=SENDERS)]
    first: Rows
    """Rows that the sender had handed over before this frame."""
    entries: list[Entry]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)


def encode(sender: int, first: int, requests: Sequence[Mirrored]) -> bytes:
    """The datagram that carries ``requests``."""
    entries = [
        (item.request_id, item.arm == "canary", len(item.rows), item.rows.tobytes(), item.scores.tobytes())
        for item in requests
    ]
    return _encoder.encode((VERSION, sender, first, entries))


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
    """The rows of a frame that has entries, in production's canonical form.

    Raises:
        ValueError: an array does not fit ``spec``; the edge serves another model.
    """
    counts = [entry.rows for entry in frame.entries]
    total = sum(counts)
    values = np.frombuffer(b"".join([entry.values for entry in frame.entries]), dtype=spec.schema.dtype)
    scores = np.frombuffer(b"".join([entry.scores for entry in frame.entries]), dtype=np.float32)
    return ShadowBatch(
        rows=values.reshape(total, spec.schema.width),
        scores=scores.reshape(total, spec.outputs),
        canary=np.repeat([entry.canary for entry in frame.entries], counts),
        senders=np.full(total, frame.sender, dtype=np.int16),
        received=received,
        request_ids=tuple(entry.request_id for entry in frame.entries),
    )
