"""What a replay posts: the demo's applications in several protocols, drawn with a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Instance: TypeAlias = Mapping[str, Any]
Application: TypeAlias = tuple[Instance, str]
"""Features as a caller would post them, and the outcome that became known later."""

SHARES = {"native": 0.72, "batch": 0.12, "v2": 0.08, "v1": 0.07, "invalid": 0.01}
KINDS = tuple(SHARES)
CALLERS = 3000
LARGEST_BATCH = 20


@dataclass(frozen=True, slots=True)
class Posting:
    """One request to post."""

    kind: str
    path: str
    document: Mapping[str, Any]
    labels: list[str]
    """Outcome of each row."""
    routing_key: str


@dataclass(frozen=True, slots=True)
class V2Inputs:
    """The input tensors that a service states in its v2 metadata."""

    tensors: tuple[tuple[str, str], ...]
    """(name, datatype)."""

    @classmethod
    def read(cls, metadata: Mapping[str, Any]) -> V2Inputs:
        return cls(tuple((tensor["name"], tensor["datatype"]) for tensor in metadata["inputs"]))

    def document(self, instances: Sequence[Instance]) -> dict[str, Any] | None:
        """The request, or None where the tensors are not one per feature or a value is missing."""
        if {name for name, _ in self.tensors} != set(instances[0]):
            return None
        if any(value is None for instance in instances for value in instance.values()):
            return None
        return {
            "inputs": [
                {
                    "name": name,
                    "datatype": datatype,
                    "shape": [len(instances), 1],
                    "data": [instance[name] for instance in instances],
                }
                for name, datatype in self.tensors
            ]
        }


def single(applications: Sequence[Application], draw: random.Random) -> Posting:
    """One row over the native route."""
    return _posting("native", "/predict", [draw.choice(applications)], _caller(draw))


def postings(
    applications: Sequence[Application], model: str, v2: V2Inputs | None, rows: int, draw: random.Random
) -> Iterator[Posting]:
    """Postings of ``rows`` rows in all, kinds drawn by ``SHARES``; native where v2 cannot say it."""
    complete = [each for each in applications if None not in each[0].values()]
    left = rows
    while left > 0:
        (kind,) = draw.choices(KINDS, weights=list(SHARES.values()))
        count = min(left, 1 if kind in ("native", "invalid") else draw.randint(2, LARGEST_BATCH))
        pool = complete if kind == "v2" and complete else applications
        chosen = [draw.choice(pool) for _ in range(count)]
        yield _made(kind, chosen, model, v2, draw)
        left -= count


def _made(
    kind: str, chosen: Sequence[Application], model: str, v2: V2Inputs | None, draw: random.Random
) -> Posting:
    caller = _caller(draw)
    if kind == "v2" and v2 is not None:
        document = v2.document([instance for instance, _ in chosen])
        if document is not None:
            labels = [label for _, label in chosen]
            return Posting(kind, f"/v2/models/{model}/infer", document, labels, caller)
    if kind == "v1":
        return _posting(kind, f"/v1/models/{model}:predict", chosen, caller)
    if kind == "invalid":
        return _posting(kind, "/predict", [(_spoilt(chosen[0][0], draw), chosen[0][1])], caller)
    return _posting("native" if len(chosen) == 1 else "batch", "/predict", chosen, caller)


def _posting(kind: str, path: str, chosen: Sequence[Application], caller: str) -> Posting:
    instances = [dict(instance) for instance, _ in chosen]
    document: dict[str, Any] = {"instances": instances}
    if kind == "batch":
        document["uncertainty"] = True
    return Posting(kind, path, document, [label for _, label in chosen], caller)


def _spoilt(instance: Instance, draw: random.Random) -> Instance:
    """The instance with one mistake that a caller could make."""
    spoilt = dict(instance)
    mistake = draw.choice(("unknown category", "text for a number", "feature left out", "unknown feature"))
    words = [name for name, value in instance.items() if isinstance(value, str)]
    numbers = [name for name, value in instance.items() if isinstance(value, int | float)]
    if mistake == "unknown category":
        spoilt[draw.choice(words)] = "castle"
    elif mistake == "text for a number":
        spoilt[draw.choice(numbers)] = "many"
    elif mistake == "feature left out":
        del spoilt[draw.choice(numbers)]
    else:
        spoilt["Shoe size"] = 43
    return spoilt


def _caller(draw: random.Random) -> str:
    return f"caller-{draw.randrange(CALLERS):04d}"
