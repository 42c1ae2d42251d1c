"""Datagrams: what goes in comes out, and what is no datagram is refused with one kind of error."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from service.adapters import frames
from service.adapters.ledger import SENDERS
from service.domain.observation import Arm, Mirrored
from service.domain.schema import ModelSpec
from tests.domain.models import spec

MODELS = {
    "tensor": spec(),
    "columns": spec(layout="columns"),
    "image": spec(layout="image", shape=(2, 3, 4), task="multiclass"),
    "regression": spec(task="regression"),
}


def request(model: ModelSpec, rows: int, rng: np.random.Generator, arm: Arm = "production") -> Mirrored:
    values = rng.normal(size=(rows, model.schema.width)).astype(model.schema.dtype)
    values[rng.random(values.shape) < 0.1] = np.nan
    return Mirrored(rng.bytes(8).hex(), arm, values, rng.random((rows, model.outputs), dtype=np.float32))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("seed", range(10))
def test_a_frame_comes_out_as_it_went_in(kind: str, seed: int) -> None:
    model, rng = MODELS[kind], np.random.default_rng(seed)
    arms: tuple[Arm, Arm] = ("production", "canary")
    sent = [
        request(model, int(rng.integers(1, 20)), rng, arms[rng.integers(2)])
        for _ in range(rng.integers(1, 30))
    ]
    frame = frames.decode(frames.encode(7, 1 << 40, [frames.pack(item) for item in sent]))
    assert (frame.sender, frame.first) == (7, 1 << 40)
    batch = frames.batch_of(frame, model, 12.5)
    np.testing.assert_array_equal(batch.rows, np.concatenate([item.rows for item in sent]))
    np.testing.assert_array_equal(batch.scores, np.concatenate([item.scores for item in sent]))
    assert batch.rows.dtype == model.schema.dtype
    assert batch.scores.dtype == np.float32
    assert batch.canary.tolist() == [item.arm == "canary" for item in sent for _ in item.rows]
    assert batch.senders.tolist() == [7] * len(batch)
    assert batch.request_ids == tuple(item.request_id for item in sent)
    assert batch.received == 12.5


def test_rows_in_another_memory_order_arrive_the_same() -> None:
    rows = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(4, 3))
    item = Mirrored("a", "production", rows[::2], np.ones((4, 2), np.float32)[::2])
    batch = frames.batch_of(frames.decode(frames.encode(0, 0, [frames.pack(item)])), MODELS["tensor"], 0.0)
    np.testing.assert_array_equal(batch.rows, rows[::2])


def test_a_heartbeat_says_only_what_was_handed_over() -> None:
    assert frames.decode(frames.encode(63, 5, [])) == frames.Frame(
        frames.VERSION, 63, 5, [], [], [], b"", b""
    )


def test_framing_costs_no_more_than_it_says() -> None:
    item = request(MODELS["tensor"], 30_000, np.random.default_rng(0))
    alone = len(frames.encode(0, 0, [frames.pack(item)])) - len(frames.encode(0, 0, []))
    assert alone <= frames.OVERHEAD + item.rows.nbytes + item.scores.nbytes + len(item.request_id)


@pytest.mark.parametrize("version", [0, 2, 99])
def test_another_version_is_refused_and_both_are_named(version: int) -> None:
    with pytest.raises(ValueError, match=f"version {version}, this shadow reads {frames.VERSION}"):
        frames.decode(msgspec.msgpack.encode((version, 0, 0, [], [], [], b"", b"")))


@pytest.mark.parametrize(
    "document",
    [
        (1, -1, 0, [], [], [], b"", b""),
        (1, SENDERS, 0, [], [], [], b"", b""),
        (1, 0, -1, [], [], [], b"", b""),
        (1, 0, 0, ["a"], [-1], [False], b"", b""),
        (1, 0, 0, ["a"], [1], [False], b""),
        (1, 0, 0),
        {"version": 1},
        None,
    ],
)
def test_numbers_that_no_edge_sends_are_refused(document: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        frames.decode(msgspec.msgpack.encode(document))


def test_rows_of_another_model_are_refused() -> None:
    sent = [request(MODELS["image"], 1, np.random.default_rng(0))]
    with pytest.raises(ValueError, match="reshape"):
        frames.batch_of(
            frames.decode(frames.encode(0, 0, [frames.pack(item) for item in sent])), MODELS["tensor"], 0.0
        )


def test_columns_of_different_length_are_refused() -> None:
    sent = [request(MODELS["tensor"], 1, np.random.default_rng(0)) for _ in range(3)]
    frame = frames.decode(frames.encode(0, 0, [frames.pack(item) for item in sent]))
    for broken in (frame._replace(canary=[True]), frame._replace(request_ids=["a"])):
        with pytest.raises(ValueError, match="differ in length"):
            frames.batch_of(broken, MODELS["tensor"], 0.0)


def test_garbage_never_raises_anything_but_value_error() -> None:
    rng, draw = np.random.default_rng(1), random.Random(1)
    whole = bytearray(frames.encode(1, 2, [frames.pack(request(MODELS["tensor"], 2, rng)) for _ in range(3)]))
    refused = 0
    for _ in range(4_000):
        if draw.random() < 0.2:
            datagram = draw.randbytes(draw.randrange(200))
        else:
            datagram = bytearray(whole[: draw.choice([len(whole), draw.randrange(len(whole))])])
            for _ in range(min(draw.randrange(1, 4), len(datagram))):
                datagram[draw.randrange(len(datagram))] = draw.randrange(256)
        try:
            frame = frames.decode(bytes(datagram))
            if frame.rows:
                frames.batch_of(frame, MODELS["tensor"], 0.0)
        except ValueError:
            refused += 1
    assert refused > 1_000
