"""What Prometheus recorded, against the measures of drift on the counts that it recorded at that instant."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from load_tests.prometheus import Labels, Points
from service.domain.drift.measure import Sample
from service.domain.drift.measures import MEASURES

FLOOR = 1e-6
"""What a difference is held against where the value itself is less."""
NUMBERED = re.compile(r"[01][0-9] ")
BEYOND = re.compile(r"[01][0-9] (below|above) ")


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one measure."""

    measure: str
    values: int
    """That were compared."""
    largest: float
    """Relative to the measure's value; infinite where only one of the two had something to say."""


class Recordings(Protocol):
    """What is asked of Prometheus, see ``load_tests.prometheus``."""

    def instant(self, query: str) -> dict[Labels, float]: ...

    def recorded(self, selector: str, seconds: float) -> dict[Labels, Points]: ...


def sample(reference: Mapping[str, float], live: Mapping[str, float]) -> Sample:
    """Counts by the bins' names, as the measures take them; a bin that one side lacks has no row there."""
    names = sorted({*reference, *live}, key=lambda name: (not NUMBERED.match(name), name))
    if "missing" not in names:
        names.append("missing")
    return Sample(
        reference=np.array([reference.get(name, 0.0) for name in names]),
        live=np.array([live.get(name, 0.0) for name in names]),
        ordered=sum(bool(NUMBERED.match(name)) for name in names),
        missing=names.index("missing"),
        strange=tuple(place for place, name in enumerate(names) if name == "unseen" or BEYOND.match(name)),
    )


def differences(prometheus: Recordings, window: str, seconds: float) -> list[Difference]:
    """Every value that was recorded in the last ``seconds``, by measure.

    Reference rows are taken as they are now: they are a bundle's, which does not change.
    """
    reference: dict[Labels, dict[str, float]] = defaultdict(dict)
    for labels, rows in prometheus.instant("understudy:reference_rows").items():
        reference[_without(labels, "bin")][dict(labels)["bin"]] = rows
    live: dict[tuple[Labels, float], dict[str, float]] = defaultdict(dict)
    for labels, at, rows in _samples(prometheus, f"distribution_rows:increase{window}", seconds):
        live[_without(labels, "bin"), at][dict(labels)["bin"]] = rows
    samples = {
        key: sample(reference[_without(key[0], "role")], rows)
        for key, rows in live.items()
        if sum(rows.values()) > 0 and sum(reference[_without(key[0], "role")].values()) > 0
    }
    found = []
    for measure in MEASURES:
        recorded = {
            (_without(labels), at): value
            for labels, at, value in _samples(prometheus, f"drift_{measure.name}:{window}", seconds)
        }
        expected = {key: value for key, each in samples.items() if (value := measure.value(each)) is not None}
        last = min(max((at for _, at in pairs), default=0.0) for pairs in (recorded, expected))
        apart = [
            _apart(recorded.get(key), expected.get(key))
            for key in {*recorded, *expected}
            if key[1] <= last  # the group may have been at work while we asked
        ]
        found.append(Difference(measure.name, len(apart), max(apart, default=0.0)))
    return found


def _samples(prometheus: Recordings, record: str, seconds: float) -> Iterator[tuple[Labels, float, float]]:
    for labels, points in prometheus.recorded(f"understudy:{record}", seconds).items():
        for at, value in points:
            yield labels, at, value


def _apart(recorded: float | None, expected: float | None) -> float:
    if recorded is None or expected is None:
        return float("inf")
    return abs(recorded - expected) / max(abs(expected), FLOOR)


def _without(labels: Labels, *names: str) -> Labels:
    """Without the series' name and these labels."""
    return frozenset((name, value) for name, value in labels if name not in ("__name__", *names))
