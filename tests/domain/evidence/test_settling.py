"""Labels turn both models' answers into evidence, by pair, hour and slice, the same however often."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from service.domain.disagreement.measure import Compared
from service.domain.evidence.books import LABELLED, Books, Key, Page, add
from service.domain.evidence.measures import JUDGEMENT
from service.domain.evidence.paired import LabelledAnswers, Pairing
from service.domain.evidence.sequential import mean
from service.domain.evidence.settling import members_of, settle
from service.domain.evidence.sheet import Sheet, sheet
from tests.domain.disagreement.pairs import PAIRS, ROWS, posed

SLICES = ("renters", "young")
BITS = np.random.default_rng(7).integers(0, 4, ROWS).astype(np.uint32)


def answers(name: str, hour: int = 10, digest: str = "d") -> LabelledAnswers:
    given = posed(name)
    production = given.pair.production
    key = Key(production.tag, given.pair.candidate.tag, digest)
    pairing = Pairing(key, production.task, production.classes, SLICES)
    seen = given.compared
    assert seen.labels is not None
    return LabelledAnswers(pairing, seen.before, seen.after, seen.labels, BITS, hour)


def cut(part: LabelledAnswers, rows: slice) -> LabelledAnswers:
    arrays = {name: getattr(part, name)[rows] for name in ("before", "after", "labels", "slices")}
    return replace(part, **arrays)


def judging(*parts: LabelledAnswers, name: str = "binary") -> dict[Key, Sheet]:
    return {part.pairing.key: sheet(posed(name).pair, JUDGEMENT) for part in parts}


def books(part: LabelledAnswers, name: str) -> Books:
    (settled,) = settle([part], judging(part, name=name))
    assert (settled.key, settled.hour) == (part.pairing.key, part.hour)
    return settled.books


@pytest.mark.parametrize("name", PAIRS)
def test_every_slice_is_judged_by_its_own_rows(name: str) -> None:
    part = answers(name)
    found, made = books(part, name), sheet(posed(name).pair, JUDGEMENT)
    inside = {"all": BITS >= 0, "renters": (BITS == 1) | (BITS == 3), "young": BITS >= 2}
    assert set(found) == {Page(LABELLED, slice_) for slice_ in inside}
    for slice_, mask in inside.items():
        seen = Compared(part.before[mask], part.after[mask], labels=part.labels[mask])
        expected = made.contributions(seen).sum(axis=0)
        np.testing.assert_allclose(found[Page(LABELLED, slice_)], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_settling_again_gives_the_same_to_the_bit(name: str) -> None:
    part = answers(name)
    first, second = books(part, name), books(part, name)
    assert all((first[page] == second[page]).all() for page in first)


@pytest.mark.parametrize("name", PAIRS)
def test_it_does_not_matter_how_labels_come_in(name: str) -> None:
    part = answers(name)
    whole = books(part, name)
    pieces = [cut(part, slice(start, start + 50)) for start in range(0, ROWS, 50)]
    (together,) = settle(pieces[::-1], judging(part, name=name))
    apart = add(settled.books for piece in pieces for settled in settle([piece], judging(part, name=name)))
    for page, sums in whole.items():
        np.testing.assert_allclose(together.books[page], sums, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(apart[page], sums, rtol=1e-12, atol=1e-12)


def test_the_guess_for_the_loss_is_nought_whatever_came_before() -> None:
    made = sheet(posed("binary").pair, JUDGEMENT)
    sums = books(answers("binary"), "binary")[Page(LABELLED, "all")]
    assert made.column("loss/deviation", sums) == made.column("loss/squares", sums) > 0


@pytest.mark.parametrize(("shift", "rows"), [(0.01, 2_000), (0.1, 2_000), (0.3, 20_000)])
def test_guessing_nought_widens_the_bounds_by_no_more_than_is_said(shift: float, rows: int) -> None:
    rng = np.random.default_rng(9)
    losses = np.clip(rng.normal(shift, 0.1, rows), -1, 1)
    best = np.square(losses - losses.mean()).sum()  # no guess made beforehand does better
    usual, guessed = (
        mean(losses.sum(), deviation, rows, 0.05, -1.0, 1.0) for deviation in (best, np.square(losses).sum())
    )
    factor = (guessed.high - guessed.low) / (usual.high - usual.low)
    assert 1 <= factor <= 1.01 * np.sqrt(1 + (shift / 0.1) ** 2)
    assert guessed.low < shift < guessed.high


def test_hours_and_pairs_are_kept_apart() -> None:
    parts = [answers("binary", hour, digest) for hour in (10, 11, 10) for digest in ("d", "e")]
    found = settle(parts, judging(*parts))
    shown = {(settled.key.digest, settled.hour): settled.books[Page(LABELLED, "all")][0] for settled in found}
    assert shown == {("d", 10): 2 * ROWS, ("e", 10): 2 * ROWS, ("d", 11): ROWS, ("e", 11): ROWS}
    assert len(found) == 4


def test_rows_of_a_pair_that_is_compared_no_more_add_nothing() -> None:
    former, present = answers("binary", digest="former"), answers("binary")
    (found,) = settle([former, present], judging(present))
    assert found.key == present.pairing.key


def test_no_rows_settle_nothing() -> None:
    nothing = cut(answers("binary"), slice(0))
    assert settle([nothing], judging(nothing)) == []
    assert settle([], {}) == []


def test_every_bit_of_a_number_can_be_a_slice() -> None:
    part = answers("binary")
    names = tuple(f"s{index}" for index in range(32))
    many = replace(
        cut(part, slice(32)),
        pairing=replace(part.pairing, slices=names),
        slices=np.uint32(1) << np.arange(32, dtype=np.uint32),
    )
    found = members_of(many)
    assert list(found) == ["all", *names]
    assert all(np.flatnonzero(found[f"s{index}"]).tolist() == [index] for index in range(32))
