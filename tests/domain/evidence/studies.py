"""Two made-up models beside each other, and the books of any rows that they answered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from service.domain.binning import Binning, labels, numbers
from service.domain.conditions import Compare
from service.domain.disagreement.measure import Compared, Pair
from service.domain.evidence.bins import Bins
from service.domain.evidence.books import AGREEMENT, LABELLED, NOISE, OUTCOMES, SPEED, Books, Page
from service.domain.evidence.document import Study
from service.domain.evidence.measures import DISAGREEMENT, JUDGEMENT
from service.domain.evidence.sheet import sheet
from service.domain.evidence.speed import run
from service.domain.evidence.verdict import Rules
from service.domain.observation import OUTCOMES as OUTCOME_NAMES
from service.domain.schema import Feature
from service.domain.slices import ALL, Slice, members
from tests.domain.models import spec

YOUNG = Slice("young", Compare(0, "<", 30.0))
PRODUCTION = spec("prod", Feature("age", "float"))
PAIR = Pair(PRODUCTION, spec("new", Feature("age", "float")), cuts=(0.25, 0.5, 0.75))
BINNING = Binning.of(
    [
        numbers("score", (25, 25, 25, 25), 0, (0.25, 0.5, 0.75), 0.0, 1.0),
        labels(PRODUCTION.classes, (50, 50)),
        numbers("feature:age", (50, 50), 0, (40.0,), 20.0, 60.0),
    ]
)


def study(rules: Rules | None = None) -> Study:
    """One candidate of two classes, and one slice."""
    return Study(
        sheet(PAIR, DISAGREEMENT),
        sheet(PAIR, JUDGEMENT),
        sheet(replace(PAIR, candidate=PRODUCTION), DISAGREEMENT),
        (YOUNG.name,),
        Bins(PRODUCTION, BINNING),
        rules or Rules(),
    )


def seen_rows(
    one: Study,
    rows: int,
    *,
    seed: int = 0,
    shift: float = 0.0,
    labelled: bool = False,
    again: bool = False,
    **outcomes: int,
) -> Books:
    """The books of ``rows`` rows, drawn at random.

    Args:
        shift: what the candidate's probability is higher by.
        labelled: whether their truth is known: as production's probability has it.
        again: whether production was asked a second time, and answered the same.
        outcomes: of rows that were not compared.
    """
    draw = np.random.default_rng(seed)
    ages = draw.uniform(20, 60, (rows, 1)).astype(np.float32)
    positive = draw.uniform(size=rows)
    moved = np.clip(positive + shift, 0, 1)
    before, after = (np.column_stack([1 - p, p]).astype(np.float32) for p in (positive, moved))
    labels = (draw.uniform(size=rows) < positive).astype(np.intp)
    masks = members((YOUNG,), ages)
    compared = Compared(before, after)
    books: Books = {
        Page(AGREEMENT, name): sums for name, sums in one.agreement.tally(compared, masks).items()
    }
    flipped = (before[:, 1] >= 0.5) != (after[:, 1] >= 0.5)
    assert one.bins is not None
    books |= one.bins.tally(ages, before, flipped, np.abs(positive - moved))
    counts = {"compared": rows, **outcomes}
    books[Page(OUTCOMES, ALL)] = np.array([float(counts.get(name, 0)) for name in OUTCOME_NAMES])
    if labelled:
        judged = one.judgement.tally(Compared(before, after, labels=labels), masks)
        books |= {Page(LABELLED, name): sums for name, sums in judged.items()}
    if again:
        books[Page(NOISE, "session")] = one.itself.tally(Compared(before, before), masks)[ALL]
        books[Page(SPEED, ALL)] = run(rows, 0.001, 0.002)
    return books
