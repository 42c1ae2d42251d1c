"""Which scores tell strangers from rows like the training data?

Every measure of kind ``domain`` is fitted to a demo bundle as packaging fits it, and judges the strangers of
``load_tests.strangers``. An isolation forest (Liu, Ting & Zhou 2008; scikit-learn's, 200 trees), which knows
the same reference rows, judges them too. Takes about a minute, with ``--quick`` 15 s.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom, rankdata

from load_tests import bundles, report
from load_tests.report import Finding
from load_tests.sections import Circumstances, Section
from load_tests.strangers import Case, case_of, strangers
from models.bundle import open_bundle
from service.domain.schema import FeatureBatch
from service.domain.uncertainty.encoding import learn_encoding
from service.domain.uncertainty.measure import Asked, Quantity, Unfitting
from service.domain.uncertainty.registry import of_kind

Score: TypeAlias = Callable[[FeatureBatch], NDArray[np.float64]]
"""How strange each row is, [rows]."""

TAGS = ("credit:gbm-1", "cancer:xgb-1", "diabetes:gbr-1", "digits:mlp-2")
DRAWS, QUICK_DRAWS = 20, 3
"""Of strangers from the other data set, and of shuffles."""
PEER = "isolation forest"
LEAST_LIKELY = 1e-3
"""A share of held-out rows that chance exceeds this seldom is a broken promise."""
BUDGET = 20.0
"""Microseconds for all that is said about one row by default."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to score, on one model's data."""

    tag: str
    score: str
    auroc: dict[str, float]
    """By kind of stranger: how often one is scored above a held-out row; the mean of several draws."""
    out_of_domain: float | None = None
    """Share of the held-out rows."""
    at_most: float | None = None
    """What that share exceeds with probability ``LEAST_LIKELY`` where the rows are exchangeable."""
    one_row_us: float | None = None

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.auroc.values())))


def domain_scores(circumstances: Circumstances) -> Section:
    """The measures side by side, on the demo's data."""
    bundles.build_demo(circumstances.home)
    cases = (case_of(open_bundle(bundles.locate(circumstances.home, tag))) for tag in TAGS)
    return compare(cases, draws=QUICK_DRAWS if circumstances.quick else DRAWS)


def compare(cases: Iterable[Case], draws: int) -> Section:
    """The measurements and claims about some models' data."""
    found: list[Measured] = []
    for case in cases:
        found += measure(case, draws)
        print(f"{case.tag}: judged", file=sys.stderr, flush=True)
    scores = list(dict.fromkeys(each.score for each in found))
    section = Section("Domain scores: AUROC of strangers against held-out rows", ("", "", *scores))
    section.how = (
        f"Mean of {draws} draws; 0.5 is a guess, 1 tells every stranger. Each measure learns from at most "
        "1,000 training rows. The isolation forest learns from the same rows in the same encoding."
    )
    section.lines = list(_lines(found, scores))
    section.findings = list(_claims(found))
    section.measured = [report.record(each) for each in found]
    return section


def measure(case: Case, draws: int) -> list[Measured]:
    """What every measure that fits, and the peer, make of a case."""
    given = [strangers(case, np.random.default_rng(draw)) for draw in range(draws)]
    found = []
    for each in of_kind("domain"):
        try:
            fitted = each.fit(case.material)
        except Unfitting:
            continue
        quantity = each.restore(case.material.spec, fitted.arrays)
        columns = quantity.columns(_asked(case, case.held_out))
        n, held = len(case.material.rows), len(case.held_out)
        above = round(fitted.report["out_of_domain_at_most"] * (n + 1))
        found.append(
            Measured(
                case.tag,
                each.name,
                _aurocs(case, given, _scoring(case, quantity)),
                float(1 - columns["in_domain"].mean()),
                float(betabinom.isf(LEAST_LIKELY, held, above, n + 1 - above) / held),
                _microseconds(case, quantity),
            )
        )
    return [*found, Measured(case.tag, PEER, _aurocs(case, given, _forest(case)))]


def auroc(usual: NDArray[np.float64], strange: NDArray[np.float64]) -> float:
    """How often a strange row scores above a usual one; ties count half."""
    ranks = rankdata(np.concatenate([usual, strange]))[len(usual) :]
    return float((ranks.mean() - (len(strange) + 1) / 2) / len(usual))


def _aurocs(case: Case, given: Sequence[Mapping[str, FeatureBatch]], score: Score) -> dict[str, float]:
    usual = score(case.held_out)
    return {kind: float(np.mean([auroc(usual, score(draw[kind])) for draw in given])) for kind in given[0]}


def _forest(case: Case) -> Score:
    from sklearn.ensemble import IsolationForest

    encoding = learn_encoding(case.material.spec.schema, case.material.reference, worth=1.0)
    forest = IsolationForest(n_estimators=200, random_state=0).fit(encoding.points(case.material.reference))
    return lambda rows: -forest.score_samples(encoding.points(rows))


def _scoring(case: Case, quantity: Quantity) -> Score:
    return lambda rows: quantity.columns(_asked(case, rows))["domain_score"]


def _asked(case: Case, rows: FeatureBatch) -> Asked:
    answers = np.zeros((len(rows), case.material.spec.outputs), np.float32)
    return Asked(np.ascontiguousarray(rows), answers, run=case.material.run)


def _microseconds(case: Case, quantity: Quantity, calls: int = 300) -> float:
    asked = [_asked(case, case.held_out[at : at + 1]) for at in range(10)]
    times = []
    for call in range(calls):
        start = time.perf_counter()
        quantity.columns(asked[call % len(asked)])
        times.append(time.perf_counter() - start)
    return 1e6 * median(times)


def _lines(found: Sequence[Measured], scores: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for tag in dict.fromkeys(each.tag for each in found):
        own = {each.score: each for each in found if each.tag == tag}
        for kind in own[PEER].auroc:
            yield tag, kind, *(f"{own[name].auroc[kind]:.3f}" if name in own else "" for name in scores)
        yield tag, "held-out rows out of domain", *(_percent(own.get(name)) for name in scores)
        yield tag, "us for one row", *(_us(own.get(name)) for name in scores)


def _percent(measured: Measured | None) -> str:
    share = measured and measured.out_of_domain
    return "" if share is None else f"{share:.1%}"


def _us(measured: Measured | None) -> str:
    return "" if measured is None or measured.one_row_us is None else f"{measured.one_row_us:.1f}"


def _claims(found: Sequence[Measured]) -> Iterator[Finding]:
    peers = {each.tag: each for each in found if each.score == PEER}
    for each in found:
        name = f"{each.tag}, {each.score}"
        if each.score != PEER:
            ahead = each.mean - peers[each.tag].mean
            yield Finding(f"{name}: AUROC above the {PEER}'s, mean over strangers", ahead, "", 0.0)
        if each.out_of_domain is not None:
            what = f"{name}: share of held-out rows out of domain"
            yield Finding(what, each.out_of_domain, "", each.at_most, at_most=True)
        if each.score == "mahalanobis" and each.one_row_us is not None:
            yield Finding(f"{name}: one row", each.one_row_us, "us", BUDGET, at_most=True)
