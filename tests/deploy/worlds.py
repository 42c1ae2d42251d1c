"""Worlds in which the value of everything that is recorded is known: what replicas export, and what is expected.

Expected values are series of the world as well, so that promtool compares all of a name at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from load_tests.recorded import sample
from service.domain.drift.measures import MEASURES
from tests.deploy.distributions import Counted, variables
from tests.deploy.promtool import selector
from tests.deploy.scenes import Labels

CLOSE = 1e-6
"""How far a value may be off, relative to itself."""
KNOWN = "expected:"
"""Before the name of each expected series."""


@dataclass(slots=True)
class World:
    """Series with a value every ``interval`` minutes, looked at in minute ``at``."""

    interval: int
    at: int
    series: list[dict[str, str]] = field(default_factory=list)
    expected: dict[str, int] = field(default_factory=dict)
    """Series of each recorded name."""
    names: set[str] = field(default_factory=set)
    """Series that are there."""

    def has(self, name: str, labels: Labels, values: Iterable[float | None]) -> None:
        words = " ".join("_" if value is None else f"{value:.15g}" for value in values)
        series = selector(name, labels)
        self.names.add(series)
        self.series.append({"series": series, "values": words})

    def expects(self, name: str, labels: Labels, value: float | None) -> None:
        """That this is recorded, or nothing; a name of which nothing is recorded is to be named as well."""
        self.expected.setdefault(name, 0)
        if value is not None:
            self.expected[name] += 1
            self.has(KNOWN + name, labels, [value] * (self.at // self.interval + 1))

    def questions(self, name: str, alias: str) -> Iterator[dict[str, Any]]:
        """Whether what is recorded as ``alias`` is what is expected of ``name``: no more, no less."""
        beside = f"{KNOWN}{name}"
        close = f"abs({alias} - {beside}) <= {CLOSE} * abs({beside}) + 1e-12"
        for query in (f"count({close})", f"count({alias})"):
            number = self.expected[name]
            answer = [{"labels": "{}", "value": number}] if number else []
            yield {"expr": query, "eval_time": f"{self.at}m", "exp_samples": answer}

    def test(self, aliases: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """As promtool has it: of each alias whether it is what its name should be."""
        return {
            "interval": f"{self.interval}m",
            "input_series": self.series,
            "promql_expr_test": [asked for name, alias in aliases for asked in self.questions(name, alias)],
        }


def drift_world(window: str) -> World:
    """All kinds of variables over several replicas, one of which restarted; twice as long as the window."""
    minutes = 60 * int(window.removesuffix("h"))
    world = World(interval=minutes // 6, at=2 * minutes)
    for counted in variables():
        _export(world, counted)
        live = {name: 6 * rows for name, rows in counted.total().items()}
        for name, rows in live.items():
            world.expects(
                f"understudy:distribution_rows:increase{window}", {**counted.labels, "bin": name}, rows
            )
        world.expects(f"understudy:drift_rows:{window}", counted.labels, sum(live.values()))
        for measure in MEASURES:
            value = measure.value(sample(counted.reference, live))
            world.expects(f"understudy:drift_{measure.name}:{window}", counted.labels, value)
    if window == "1h":
        _references(world)
        _two_samples(world)
    _unmeasured(world, window)
    return world


def _export(world: World, counted: Counted) -> None:
    for replica, live in counted.live.items():
        about = {"instance": replica, "job": replica}
        for name, rows in live.items():
            steps = [rows * step for step in range(13)]
            if replica == "b":  # born again in the window: its counts begin anew
                steps = [*steps[:9], *(rows * step for step in range(1, 5))]
            world.has("understudy_distribution_rows_total", {**counted.labels, "bin": name, **about}, steps)
        for name, rows in counted.reference.items():
            labels = {**counted.reference_labels, "bin": name, **about}
            if selector("understudy_reference_rows", labels) not in world.names:  # in the other role
                world.has("understudy_reference_rows", labels, [rows] * 13)


def _references(world: World) -> None:
    seen = set()
    for counted in variables():
        for name, rows in counted.reference.items():
            labels = {**counted.reference_labels, "bin": name}
            if tuple(labels.values()) not in seen:
                seen.add(tuple(labels.values()))
                world.expects("understudy:reference_rows", labels, rows)


def _two_samples(world: World) -> None:
    """Models that are told apart, cannot be, always are, never are, and are not looked at."""
    for version, right, wrong in (("1", 60, 40), ("2", 50, 50), ("3", 10, 0), ("4", 0, 10), ("5", 0, 0)):
        model = {"model": "told", "version": version}
        for replica, times in (("a", 1), ("b", 2)):
            for correct, rows in (("true", right), ("false", wrong)):
                if rows or version == "5":  # a series is born with its first row
                    labels = {**model, "correct": correct, "instance": replica}
                    steps = [times * rows * step for step in range(13)]
                    world.has("understudy_two_sample_rows_total", labels, steps)
        told = 18 * (right + wrong)
        accuracy = right / (right + wrong) if told else None
        z = None if accuracy is None else (accuracy - 0.5) / np.sqrt(0.25 / told)
        world.expects("understudy:drift_two_sample_rows:1h", model, told or None)
        world.expects("understudy:drift_two_sample_accuracy:1h", model, accuracy)
        world.expects("understudy:drift_two_sample_z:1h", model, z)


def _unmeasured(world: World, window: str) -> None:
    """Variables without rows, without reference data, and with reference data that are empty."""
    for variable, rows, known in (("Quiet", 0.0, 5.0), ("Unknown", 4.0, None), ("Hollow", 4.0, 0.0)):
        labels = {"model": "odd", "version": "1", "variable": f"feature:{variable}"}
        about = {**labels, "role": "production"}
        for name in ("00 below 0", "01 above 0", "missing"):
            steps = [rows * step for step in range(13)]
            world.has("understudy_distribution_rows_total", {**about, "bin": name, "instance": "a"}, steps)
            increase = f"understudy:distribution_rows:increase{window}"
            world.expects(increase, {**about, "bin": name}, 6 * rows)
            if known is not None:
                reference = {**labels, "bin": name}
                world.has("understudy_reference_rows", {**reference, "instance": "a"}, [known] * 13)
                if window == "1h":
                    world.expects("understudy:reference_rows", reference, known)
        if rows:
            world.expects(f"understudy:drift_rows:{window}", about, 18 * rows)


Increase = Callable[[str], float]
"""What a counter rose by in a window."""


class History:
    """Counters whose rate changes at the beginning of each window, so that no two windows agree."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._draw = np.random.default_rng(seed)

    def counter(
        self, name: str, labels: Labels, most: float = 10, part_of: Sequence[float] = ()
    ) -> list[float]:
        """Adds one, of the given rates or of drawn ones; its rates, one for each step."""
        rates = [float(rate) for rate in part_of] or self.rates(most)
        self._world.has(name, labels, [0.0, *np.cumsum(rates).tolist()])
        return rates

    def rates(self, most: float) -> list[float]:
        steps = self._world.at // self._world.interval
        edges = [minutes // self._world.interval for minutes in (5, 10, 30, 60, 120, 360, 720, 1440)]
        rates = np.empty(steps)
        for edge in sorted({steps, *(edge for edge in edges if 0 < edge < steps)}, reverse=True):
            rates[steps - edge :] = np.round(self._draw.uniform(most / 4, most), 2)
        return rates.tolist()

    def rose(self, rates: Sequence[float], window: str) -> float:
        """In the window's last minutes."""
        minutes = int(window[:-1]) * {"m": 1, "h": 60}[window[-1]]
        return float(sum(rates[len(rates) - minutes // self._world.interval :]))
