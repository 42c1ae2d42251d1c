"""Made-up distributions as replicas export them: all kinds of variables, uneven replicas, a restart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

Counts = dict[str, float]
"""Rows by bin."""

AGES = ("00 below 18", *(f"{place:02} {18 + 4 * place} to {22 + 4 * place}" for place in range(1, 11)))
AGES = (*AGES, "11 above 90", "missing")
LONG = ("00 below -1.5", *(f"{place:02} {place} to {place + 1}" for place in range(1, 19)), "19 above 2e+06")
LONG = (*LONG, "missing")
SHORT = ("00 below 0.25", "01 0.25 to 0.5", "02 above 0.5", "missing")
WORDS = ("is rent", "is own", 'is 10 below "par"', "other words", "missing", "unseen")
CLASSES = ("is bad", "is good", "missing", "unseen")
TENS = (*(f"{place:02} {10 * place} to {10 * place + 10}" for place in range(10)), "missing")


@dataclass(frozen=True, slots=True)
class Counted:
    """One variable of one model in one role."""

    model: str
    role: str
    variable: str
    reference: Counts
    live: Mapping[str, Counts]
    """By replica: rows that come in each step."""
    labels: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        name, version = self.model.split(":")
        labels = {"model": name, "version": version, "role": self.role, "variable": self.variable}
        object.__setattr__(self, "labels", labels)

    @property
    def reference_labels(self) -> dict[str, str]:
        return {name: value for name, value in self.labels.items() if name != "role"}

    def total(self) -> Counts:
        """Over all replicas."""
        total = dict.fromkeys(self.reference, 0.0)
        for counts in self.live.values():
            for name, rows in counts.items():
                total[name] = total.get(name, 0.0) + rows
        return total


def variables() -> Iterator[Counted]:
    """Three models in two services: what production is in one is the candidate of the other."""
    draw = np.random.default_rng(6)

    def rows(names: tuple[str, ...], most: int) -> Counts:
        return {name: float(draw.integers(0, most)) for name in names}

    def lacking(counts: Counts) -> Counts:
        return dict(list(counts.items())[2:])

    kinds = {
        "feature:Age": AGES, "feature:Income": LONG, "feature:Home": WORDS, "label": CLASSES,
        "score": SHORT, "domain": TENS,
    }  # fmt: skip
    for variable, names in kinds.items():
        reference = rows(names, 400)
        both = {"a": rows(names, 60), "b": lacking(rows(names, 40))}
        yield Counted("credit:gbm-1", "production", variable, reference, both)
        yield Counted("credit:gbm-1", "candidate", variable, reference, {"c": rows(names, 30)})
    for variable, names in {"feature:Age": SHORT, "feature:Home": CLASSES, "score": AGES}.items():
        live = {"a": rows(names, 20), "b": rows(names, 20)}
        yield Counted("credit:gbm-2", "candidate", variable, rows(names, 300), live)
    yield from extremes()


def extremes() -> Iterator[Counted]:
    """Where formulas break or branch: one bin, the same shares, one row, rows that only one side has."""
    age = dict(zip(AGES, (0, 5, 10, 20, 40, 40, 20, 10, 5, 3, 2, 0, 5), strict=True))
    cases: dict[str, tuple[Mapping[str, float], Mapping[str, float]]] = {
        "feature:Lost": ({"missing": 500.0}, {"missing": 7.0}),
        "feature:Same": (age, age),
        "feature:Rare": (age, {**dict.fromkeys(AGES, 0), "04 34 to 38": 1}),
        "feature:New": (age, {**dict.fromkeys(AGES, 0), "11 above 90": 30}),
        "feature:Gone": (age, {**dict.fromkeys(AGES, 0), "missing": 30}),
        "feature:Apart": (
            dict(zip(SHORT, (0, 100, 0, 0), strict=True)),
            dict(zip(SHORT, (0, 0, 100, 0), strict=True)),
        ),
        "feature:Strange": (
            dict(zip(CLASSES, (50, 50, 0, 0), strict=True)),
            dict(zip(CLASSES, (0, 0, 0, 9), strict=True)),
        ),
        "feature:Named": ({"is a": 4, "missing": 0, "unseen": 0}, {"is a": 9, "missing": 0, "unseen": 0}),
    }
    # a KS distance that chance makes as large in 99.7 %, in 60 % and in 26 % of all hours
    for variable, halves in {"feature:Near": (5, 4), "feature:Off": (6, 4), "feature:Far": (13, 9)}.items():
        cases[variable] = (
            dict(zip(SHORT, (0, 1_000, 1_000, 0), strict=True)),
            dict(zip(SHORT, (0, *halves, 0), strict=True)),
        )
    for variable, (reference, live) in cases.items():
        yield Counted("odd:1", "production", variable, dict(reference), {"a": dict(live)})
