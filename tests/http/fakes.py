"""Models without graphs, requests without sockets: what the codecs' tests have in common."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from service.domain.expectations import Expectations
from service.domain.observation import Arm
from service.domain.schema import Binding, Feature, FeatureBatch, ModelSpec, Schema, Scores, label_indices
from service.http.codec import Codec, Head
from service.http.doubts import DoubtReader, cannot
from service.http.instances import InstanceReader
from service.http.native import NativeCodec
from service.http.problem import Problem
from service.http.v2 import V2Codec
from service.http.wishes import WishLimits, WishReader
from service.paths.question import Answer, Question, Serving

MAX_ROWS = 50

MIXED = (
    Feature("Age", "int64"),
    Feature("Income per month", "float", missing=True),
    Feature("Wohnort ü 100%", "string", ("rent", "own", "Größe 5%"), missing=True),
    Feature("instances", "float"),
    Feature("Job", "string", ("fixed", "free")),
)
NUMBERS = (Feature("a", "float"), Feature("b", "float", missing=True), Feature("c", "int64"))

CREDIT = ModelSpec("credit", "gbm-1", "binary", Schema(MIXED, "tensor"), ("bad", "good"))
PIPELINE = ModelSpec("pipeline", "1", "multiclass", Schema(MIXED, "columns"), ('sa"id', "50%", "plain"))
NUMERIC = ModelSpec("numeric", "2", "binary", Schema(NUMBERS, "tensor"), ("no", "yes"))
HOUSES = ModelSpec("houses", "1", "regression", Schema(NUMBERS, "tensor"))
DIGITS = ModelSpec("digits", "1", "multiclass", Schema((), "image", (2, 3)), ("zero", "one", "two"))
MODELS = {spec.name: spec for spec in (CREDIT, PIPELINE, NUMERIC, HOUSES, DIGITS)}
TABULAR = [CREDIT, PIPELINE, NUMERIC, HOUSES]


class Violations(Counter[tuple[str, str]]):
    """Counts (feature, kind)."""

    def __call__(self, feature: str, kind: str, count: int = 1) -> None:
        self[feature, kind] += count


def binding(spec: ModelSpec) -> Binding:
    inputs = spec.schema.names() if spec.schema.layout == "columns" else ("x",)
    return Binding(inputs, "scores", "probabilities" if spec.classes else "value")


def reader(
    spec: ModelSpec, violations: Violations | None = None, expectations: Expectations = ()
) -> InstanceReader:
    found = Violations() if violations is None else violations
    return InstanceReader(spec.schema, MAX_ROWS, found, expectations)


def wishes(spec: ModelSpec) -> WishReader:
    return WishReader(spec, WishLimits(max_evals=10_000, deadline=5.0), default_evals=1_000)


def native_codec(
    spec: ModelSpec, violations: Violations | None = None, expectations: Expectations = ()
) -> NativeCodec:
    return NativeCodec(reader(spec, violations, expectations), wishes(spec), DoubtReader(cannot(spec.tag)))


def v2_codec(
    spec: ModelSpec,
    violations: Violations | None = None,
    arm: Arm | None = None,
    expectations: Expectations = (),
) -> V2Codec:
    found = Violations() if violations is None else violations
    return V2Codec(spec, binding(spec), MAX_ROWS, found, arm, expectations=expectations)


def head(arm: Arm | None = None, **headers: object) -> Head:
    """``x_request_id="1"`` becomes the header ``x-request-id: 1``."""
    named = {name.replace("_", "-").encode(): str(value).encode() for name, value in headers.items()}
    return Head(named, arm, 0.0)


def refusal(codec: Codec, body: bytes, given: Head | None = None) -> Problem:
    """The problem that ``decode`` raises."""
    with pytest.raises(Problem) as caught:
        codec.decode(body, given or head())
    return caught.value


def outcome(codec: Codec, body: bytes, given: Head) -> tuple[int, FeatureBatch | None]:
    """The status that a request is told, and its rows; anything but a problem is raised."""
    try:
        rows = codec.decode(body, given).rows
    except Problem as problem:
        return json.loads(problem.body("1"))["status"], None
    return 200, rows


TOKENS = [
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"NaN", b"-Infinity", b"1e999", b"true", b"-", b"0.5",
    b"\\ud800", b"\\u0000", b"\xff", b"\x00", b"[" * 2000, b"9" * 30, b"instances", b"Age", b"request_id",
]  # fmt: skip


def mutated(body: bytes, generator: random.Random) -> bytes:
    """The body with one to four cuts, swaps or insertions."""
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(body) + 1)
        until = min(len(body), at + generator.choice((0, 0, 1, 1, 8)))
        body = body[:at] + generator.choice((b"", bytes([generator.randrange(256)]), *TOKENS)) + body[until:]
    return body


class NoTally:
    """Nobody reads it."""

    def __init__(self) -> None:
        self.labels: list[int] = []
        self.seconds: list[float] = []
        self.domain = [0, 0]


def scores_of(spec: ModelSpec, rows: FeatureBatch) -> Scores:
    """Some smooth function of the rows: [rows, outputs], sums to 1 where there are classes."""
    weights = np.sin(np.arange(spec.outputs * rows.shape[1]) + 1).reshape(rows.shape[1], spec.outputs)
    margins = np.nan_to_num(rows.astype(np.float64), nan=0.5) @ weights
    if not spec.classes:
        return margins.astype(np.float32)
    odds = np.exp(np.tanh(margins))
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def serving(spec: ModelSpec) -> Serving:
    def infer(rows: FeatureBatch, due: float) -> Scores:
        return scores_of(spec, rows)

    async def infer_in_thread(rows: FeatureBatch, due: float) -> Scores:
        return infer(rows, due)

    return Serving(spec, infer, infer_in_thread, 1000, NoTally())


def answer(model: Serving, question: Question, arm: Arm = "production") -> Answer:
    scores = scores_of(model.spec, question.rows)
    return Answer(question.request_id, model, arm, scores, label_indices(model.spec, scores))


def some_rows(spec: ModelSpec, count: int, seed: int, missing: float = 0.2) -> list[dict[str, Any]]:
    """Instances whose numbers float32 holds exactly; a share of what may be missing is null."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        row: dict[str, Any] = {}
        for feature in spec.schema.features:
            if feature.missing and generator.random() < missing:
                row[feature.name] = None
            elif feature.type == "string":
                row[feature.name] = feature.categories[generator.integers(len(feature.categories))]
            elif feature.type == "int64":
                row[feature.name] = int(generator.integers(-1000, 1000))
            else:
                row[feature.name] = float(np.float32(generator.normal() * 100))
        rows.append(row)
    return rows


def expected_rows(spec: ModelSpec, instances: list[dict[str, Any]]) -> FeatureBatch:
    """Canonical rows, worked out the slow and plain way."""
    rows = [
        [
            np.nan
            if row[feature.name] is None
            else feature.categories.index(row[feature.name])
            if feature.type == "string"
            else row[feature.name]
            for feature in spec.schema.features
        ]
        for row in instances
    ]
    return np.array(rows, dtype=spec.schema.dtype)
