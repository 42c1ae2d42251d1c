"""What the rules and the pages of 20 features cost, for production and two candidates.

A Prometheus is given a day of one replica's counters, a sample a minute, and evaluates the rules over their
real windows, more often than shipped so that it is over soon. Beside the seconds that it took stand those of
3 replicas scraped every 15 seconds: a rule that reads the replicas' own series takes as much longer as there
are more samples in its window, the others read what was recorded and take as long as before.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from deploy.prometheus import recording
from deploy.prometheus.promql import Group
from load_tests.prometheus import Prometheus, installed, prometheus
from load_tests.report import Finding, record
from load_tests.sections import Circumstances, Section
from service.adapters.distribution_page import Counted, DistributionPage
from service.domain.binning import Binning, labels, numbers, percentiles
from service.domain.drift.slots import TOLD_CELLS, ModelKey, Role

FEATURES = 20
MODELS: tuple[tuple[str, Role], ...] = (
    ("credit:1", "production"),
    ("credit:2", "candidate"),
    ("credit:3", "candidate"),
)
DAY = 86_400
STEP = 60
"""Seconds between two samples. Fewer would say little of what more of them cost."""
USUAL_REPLICAS, USUAL_STEP = 3, 15
RAW = "understudy_"
"""What the names of the replicas' own series begin with; recorded ones begin with ``understudy:``."""
ROWS_A_SECOND = 10
INTERVAL = "15s"
EVALUATED = 3
PATIENCE = 180.0
MOST_OF_INTERVAL = 0.5
"""Of a group's interval that its evaluation may take as it is usually scraped."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One group of rules."""

    group: str
    rules: int
    interval: float
    """Seconds from one evaluation to the next, as shipped."""
    seconds: float
    """That the last evaluation took."""
    usual_seconds: float
    """That it would take with 3 replicas that are scraped every 15 s."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one replica shows of its distributions."""

    series: int
    bytes: int
    milliseconds: float
    """To write it."""


def costs(_: Circumstances) -> Section:
    """Series and bytes of a page, seconds of each group of rules."""
    section = Section(
        f"Cost of {FEATURES} features, production and two candidates",
        ("group", "rules", "every s", "evaluation s", "3 replicas scraped every 15 s"),
        how=" ".join((__doc__ or "").split("\n\n")[1].split()).replace("``", "`"),
    )
    program = installed()
    if program is None:
        print("Prometheus is not installed: apt-get install prometheus", file=sys.stderr)
        return section
    models = [_model(tag, role, seed) for seed, (tag, role) in enumerate(MODELS)]
    page = _page(models)
    shipped = recording.groups()
    often = [{**group, "interval": INTERVAL} for group in shipped]
    with prometheus(program, (), often, lambda data: _day(models, data)) as watching:
        _await(watching)
        found = list(_costs(watching, shipped, USUAL_REPLICAS * STEP / USUAL_STEP))
        recorded = sum(watching.instant('count({__name__=~"understudy:.+"})').values())
    section.lines = [
        (
            each.group,
            str(each.rules),
            f"{each.interval:g}",
            f"{each.seconds:.3f}",
            f"{each.usual_seconds:.2f}",
        )
        for each in found
    ]
    section.measured = [record(page), *map(record, found)]
    section.findings = [
        Finding("series of rows by bin and reference rows, one replica", page.series, ""),
        Finding("their part of the page", page.bytes / 1e3, "kB"),
        Finding("to write it", page.milliseconds, "ms"),
        Finding("series that the rules record", recorded, ""),
        *(
            Finding(
                f"{each.group}: share of its interval, 3 replicas every 15 s",
                each.usual_seconds / each.interval,
                "",
                MOST_OF_INTERVAL,
                at_most=True,
            )
            for each in found
        ),
    ]
    return section


def _model(tag: str, role: Role, seed: int) -> Counted:
    """A classifier of two classes with numeric features, 10 bins between the least and the largest value."""
    draw = np.random.default_rng(seed)
    edges = [float(each) for each in range(10, 100, 10)]

    def some(name: str) -> tuple[str, list[int]]:
        return name, [int(each) for each in draw.integers(50, 150, 10)]

    variables = ["score", *(f"feature:Feature {place:02}" for place in range(FEATURES))]
    cuts = [numbers(*some(name), missing=9, edges=edges, minimum=0.0, maximum=100.0) for name in variables]
    cuts += [labels(("bad", "good"), (300, 700)), percentiles(np.arange(1_000.0))]
    binning = Binning.of(cuts)
    return Counted(ModelKey(tag, role, binning.digest), binning.variables, tells=True)


def _vectors(models: Sequence[Counted], rows: float) -> list[NDArray[np.float64]]:
    """The counts once so many rows have come, spread evenly."""
    return [
        np.concatenate(
            [
                *(np.full(len(each.names), rows // len(each.names)) for each in model.variables),
                np.full(TOLD_CELLS, rows // 10),
            ]
        )
        for model in models
    ]


def _page(models: Sequence[Counted]) -> Page:
    made = DistributionPage(models)
    start = time.perf_counter()
    text = made.text(_vectors(models, 1e6))
    seconds = time.perf_counter() - start
    series = [line for line in text.decode().splitlines() if not line.startswith("#")]
    return Page(len(series), len(text), 1e3 * seconds)


def _day(models: Sequence[Counted], data: Path) -> None:
    """Blocks of one day that ends now; raises ``CalledProcessError``."""
    history = data.with_name("day.om")
    end = time.time()
    pages = DistributionPage(models)
    with history.open("w", encoding="utf-8") as file:
        for age in range(DAY, -1, -STEP):
            rows = (DAY - age) * ROWS_A_SECOND
            lines = pages.text(_vectors(models, rows)).decode().splitlines()
            shown = [line for line in lines if not line.startswith("#")]
            file.writelines(f"{line} {end - age:.3f}\n" for line in shown)
        file.write("# EOF\n")
    make = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(history), str(data)]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    history.unlink()


def _await(watching: Prometheus) -> None:
    """Until every group was evaluated some times; raises ``TimeoutError``."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        times = [
            sample.value
            for family in text_string_to_metric_families(watching.page())
            for sample in family.samples
            if sample.name == "prometheus_rule_group_iterations_total"
        ]
        if min(times, default=0.0) >= EVALUATED:
            return
        time.sleep(1.0)
    raise TimeoutError(f"after {PATIENCE:g} s not every group was evaluated {EVALUATED} times")


def _costs(watching: Prometheus, shipped: Sequence[Group], times: float) -> Iterator[Cost]:
    """What each group took; rules of the replicas' own series would take so many ``times`` as long."""
    took = {group["name"]: group["rules"] for group in watching.groups()}
    units = {"s": 1.0, "m": 60.0}
    for group in shipped:
        seconds = {rule["name"]: float(rule["evaluationTime"]) for rule in took[group["name"]]}
        raw = sum(seconds[rule["record"]] for rule in group["rules"] if RAW in rule["expr"])
        total, interval = sum(seconds.values()), group["interval"]
        every = float(interval[:-1]) * units[interval[-1]]
        usual = total + raw * (times - 1.0)
        yield Cost(group["name"], len(seconds), every, total, usual)
