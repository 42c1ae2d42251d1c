"""Datagrams: what goes in comes out, and what is no datagram is refused with one kind of error."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from service.adapters import frames
from service.adapters.ledger import SENDERS
from service.domain.observation import Mirrored
from service.domain.schema import ModelSpec
from tests.domain.models import spec

MODELS = {
    "tensor": spec(),
    "columns": spec(layout="columns"),
    "image": spec(layout="image", shape=(2, 3, 4), task="multiclass"),
    "regression": spec(task="regression"),
}


def request(model: ModelSpec, rows: int, rng: np.random.Generator, answerer: int = 0) -> Mirrored:
    values = rng.normal(size=(rows, model.schema.width)).astype(model.schema.dtype)
    values[rng.random(values.shape) < 0.1] = np.nan
    return Mirrored(rng.bytes(8).hex(), answerer, values, rng.random((rows, model.outputs), dtype=np.float32))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("seed", range(10))
def test_a_frame_comes_out_as_it_went_in(kind: str, seed: int) -> None:
    model, rng = MODELS[kind], np.random.default_rng(seed)
    sent = [
        request(model, int(rng.integers(1, 20)), rng, int(rng.choice([0, 0, 1, 16])))
        for _ in range(rng.integers(1, 30))
    ]
    frame = frames.decode(frames.encode(7, 1 << 40, [frames.pack(item) for item in sent]))
    assert (frame.sender, frame.first) == (7, 1 << 40)
    batch = frames.batch_of(frame, model, 12.5)
    np.testing.assert_array_equal(batch.rows, np.concatenate([item.rows for item in sent]))
    np.testing.assert_array_equal(batch.scores, np.concatenate([item.scores for item in sent]))
    assert batch.rows.dtype == model.schema.dtype
    assert batch.scores.dtype == np.float32
    assert batch.answerers.tolist() == [item.answerer for item in sent for _ in item.rows]
    assert batch.canary.tolist() == [item.answerer > 0 for item in sent for _ in item.rows]
    assert batch.senders.tolist() == [7] * len(batch)
    assert batch.request_ids == tuple(item.request_id for item in sent)
    assert batch.received == 12.5
    parts = frames.parts_of(frame)
    assert parts.request_ids == batch.request_ids
    assert parts.counts.tolist() == parts.totals.tolist() == [len(item.rows) for item in sent]
    assert not parts.firsts.any()


def test_a_part_of_a_request_says_where_it_belongs() -> None:
    item = request(MODELS["tensor"], 5, np.random.default_rng(0))._replace(first=1 << 20, total=1 << 21)
    parts = frames.parts_of(frames.decode(frames.encode(0, 0, [frames.pack(item)])))
    assert (parts.counts.tolist(), parts.firsts.tolist(), parts.totals.tolist()) == (
        [5],
        [1 << 20],
        [1 << 21],
    )


def test_rows_in_another_memory_order_arrive_the_same() -> None:
    rows = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(4, 3))
    item = Mirrored("a", 0, rows[::2], np.ones((4, 2), np.float32)[::2])
    batch = frames.batch_of(frames.decode(frames.encode(0, 0, [frames.pack(item)])), MODELS["tensor"], 0.0)
    np.testing.assert_array_equal(batch.rows, rows[::2])


def test_a_heartbeat_says_only_what_was_handed_over() -> None:
    nothing = frames.Frame(frames.VERSION, 63, 5, [], [], [], [], [], b"", b"")
    assert frames.decode(frames.encode(63, 5, [])) == nothing


def test_framing_costs_no_more_than_it_says() -> None:
    item = request(MODELS["tensor"], 70_000, np.random.default_rng(0), answerer=200)
    item = item._replace(request_id="x" * 128, first=1 << 31, total=1 << 32)
    alone = len(frames.encode(0, 0, [frames.pack(item)])) - len(frames.encode(0, 0, []))
    assert alone <= frames.OVERHEAD + item.rows.nbytes + item.scores.nbytes + len(item.request_id)


@pytest.mark.parametrize("version", [0, 1, 99])
def test_another_version_is_refused_and_both_are_named(version: int) -> None:
    with pytest.raises(ValueError, match=f"version {version}, this shadow reads {frames.VERSION}"):
        frames.decode(msgspec.msgpack.encode((version, 0, 0, [], [], [], [], [], b"", b"")))


@pytest.mark.parametrize(
    "document",
    [
        (2, -1, 0, [], [], [], [], [], b"", b""),
        (2, SENDERS, 0, [], [], [], [], [], b"", b""),
        (2, 0, -1, [], [], [], [], [], b"", b""),
        (2, 0, 0, ["a"], [-1], [0], [1], [0], b"", b""),
        (2, 0, 0, ["a"], [1], [-1], [1], [0], b"", b""),
        (2, 0, 0, ["a"], [1], [0], [1], [256], b"", b""),
        (2, 0, 0, ["a"], [1], [0], [1], [0], b""),
        (2, 0, 0),
        {"version": 2},
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
    for column in ("request_ids", "counts", "firsts", "totals", "answerers"):
        broken = frame._replace(**{column: getattr(frame, column)[:1]})
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
