"""Worlds in which the value of everything that is recorded is known.

Expected values are series of the world as well, so that promtool compares all of a name at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from load_tests.recorded import sample
from service.domain.drift.alerting import deviations
from service.domain.drift.measures import MEASURES
from tests.deploy.distributions import Counted, variables
from tests.deploy.promtool import selector
from tests.deploy.scenes import Labels

CLOSE = 1e-6
"""How far a value may be off, relative to itself."""
MANY = 1_000_000
"""More than there are series of one name, so that a sum tells of two counts."""
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

    def question(self, name: str, alias: str) -> dict[str, Any]:
        """Whether what is recorded as ``alias`` is what is expected of ``name``: no more, no less."""
        beside, number = f"{KNOWN}{name}", self.expected[name]
        close = f"abs({alias} - {beside}) <= {CLOSE} * abs({beside}) + 1e-12"
        return {
            "expr": f"(count({close}) or vector(0)) + {MANY} * (count({alias}) or vector(0))",
            "eval_time": f"{self.at}m",
            "exp_samples": [{"labels": "{}", "value": (1 + MANY) * number}],
        }

    def test(self, aliases: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """As promtool has it: of each alias whether it is what its name should be."""
        return {
            "interval": f"{self.interval}m",
            "input_series": self.series,
            "promql_expr_test": [self.question(name, alias) for name, alias in aliases],
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
    _at_the_seam(world, window)
    _one_sided(world, window)
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
        z = None if accuracy is None else deviations(accuracy, told)
        world.expects("understudy:drift_two_sample_rows:1h", model, told or None)
        world.expects("understudy:drift_two_sample_accuracy:1h", model, accuracy)
        world.expects("understudy:drift_two_sample_z:1h", model, z)


def _one_sided(world: World, window: str) -> None:
    """Bins that only live rows have, or only the reference data."""
    known = {"00 below 0": 0.0, "01 0 to 18": 40.0, "02 18 to 30": 20.0, "03 above 30": 0.0, "missing": 3.0}
    later = {"03 above 30": 2.0, "04 above 90": 5.0, "unseen": 1.0}
    narrow = {"01 0 to 18": 4.0, "missing": 1.0}
    unknown = {**dict.fromkeys(known, 0.0), "missing": 5.0}
    for variable, reference, live in (
        ("Late", known, {**known, **later}), ("Narrow", known, narrow), ("Novel", unknown, narrow),
    ):  # fmt: skip
        labels = {"model": "odd", "version": "1", "variable": f"feature:{variable}"}
        _variable(world, window, labels, reference, live)


def _at_the_seam(world: World, window: str) -> None:
    """Differences of the cumulative shares at which one series for the p-value gives way to the other."""
    for place, scaled in enumerate((0.15, 0.55, 0.8, 0.97, 1.02, 1.3)):
        known, rows = 1_000.0, 200.0
        gap = scaled / np.sqrt(6 * rows * known / (6 * rows + known))
        reference = {"00 0 to 1": known / 2, "01 1 to 2": known / 2, "missing": 0.0}
        live = {"00 0 to 1": rows * (0.5 + gap), "01 1 to 2": rows * (0.5 - gap), "missing": 0.0}
        labels = {"model": "seam", "version": "1", "variable": f"feature:{place}"}
        _variable(world, window, labels, reference, live)


def _variable(
    world: World, window: str, labels: Labels, known: Mapping[str, float], live: Mapping[str, float]
) -> None:
    """One variable of production on one replica, with everything that is expected of it."""
    about = {**labels, "role": "production"}
    for name, rows in live.items():
        steps = [rows * step for step in range(13)]
        world.has("understudy_distribution_rows_total", {**about, "bin": name, "instance": "a"}, steps)
        world.expects(f"understudy:distribution_rows:increase{window}", {**about, "bin": name}, 6 * rows)
    for name, rows in known.items():
        world.has("understudy_reference_rows", {**labels, "bin": name, "instance": "a"}, [rows] * 13)
        if window == "1h":
            world.expects("understudy:reference_rows", {**labels, "bin": name}, rows)
    world.expects(f"understudy:drift_rows:{window}", about, 6 * sum(live.values()))
    counts = sample(known, {name: 6 * rows for name, rows in live.items()})
    for measure in MEASURES:
        world.expects(f"understudy:drift_{measure.name}:{window}", about, measure.value(counts))


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
        for other in ({"model": "even"}, {"version": "2"}):
            live = {"00 below 0": 1.0, "01 above 0": 2.0, "missing": 3.0}
            _variable(world, window, {**labels, **other}, live, live)


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
