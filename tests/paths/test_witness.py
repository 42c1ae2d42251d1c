"""What was compared is added up, and nothing that goes wrong in doing so is felt by the comparison."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.disagreement.measure import Pair
from service.domain.evidence.books import AGREEMENT, BINS, LEFT_OUT, NOISE, SPEED, Books, Page, add
from service.domain.evidence.measures import DISAGREEMENT
from service.domain.evidence.sheet import sheet
from service.domain.observation import share_of
from service.domain.schema import FeatureBatch, Scores
from service.paths.repeats import Repeats, Variant
from service.paths.witness import AnswerLimits
from tests.domain.models import spec
from tests.paths.witnesses import SHEET, WitnessWorld, batch, scores, too_late

EVERYTHING = Page(AGREEMENT, "all")


def column(books: Books, name: str, page: Page = EVERYTHING) -> float:
    return SHEET.column(name, books[page])


def test_all_rows_are_added_up_in_every_slice_they_are_in() -> None:
    world = WitnessWorld()
    world.compare(batch("a", ages=[20, 70], rows=2), 0.25, 0.75)
    world.compare(batch("b", homes=1.0), 0.5)
    books = world.witness.drain().books
    assert column(books, "rows") == 3
    assert column(books, "flips/bad -> good") == 2
    assert column(books, "gap/sum") == pytest.approx(0.75)
    assert column(books, "rows", Page(AGREEMENT, "renters")) == 1
    assert column(books, "flips/bad -> good", Page(AGREEMENT, "old")) == 1
    assert books[Page(BINS, "score")].tolist() == pytest.approx([3, 2, 0.75, 0.3125])


def test_what_was_handed_over_is_not_handed_over_again() -> None:
    world = WitnessWorld()
    world.compare(batch("a"), 0.75)
    first = world.witness.drain(everything=True)
    world.compare(batch("b"), 0.25)
    second = world.witness.drain(everything=True)
    assert column(first.books, "rows") == column(second.books, "rows") == 1
    assert column(second.books, "flips/bad -> good") == 0
    assert [answers.request_id for answers in second.answers] == ["b"]
    nothing = world.witness.drain(everything=True)
    assert (nothing.books, nothing.cases, nothing.answers) == ({}, (), ())


@given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5), max_size=6), st.data())
@settings(deadline=None, max_examples=50)
def test_however_often_it_is_drained_the_sums_are_the_same(
    batches: list[list[float]], data: st.DataObject
) -> None:
    world, parts = WitnessWorld(), []
    for number, after in enumerate(batches):
        world.compare(batch(f"r{number}", rows=len(after)), *after)
        if data.draw(st.booleans()):
            parts.append(world.witness.drain().books)
    found = add([*parts, world.witness.drain().books])
    whole = WitnessWorld()
    for number, after in enumerate(batches):
        whole.compare(batch(f"r{number}", rows=len(after)), *after)
    expected = whole.witness.drain().books
    assert found.keys() == expected.keys()
    for page, sums in expected.items():
        np.testing.assert_allclose(found[page], sums, rtol=1e-12, atol=1e-12)


def test_a_gap_is_guessed_from_the_rows_before_it_and_never_from_itself() -> None:
    world = WitnessWorld()
    assert world.regard(batch("a")).expected == {}
    found = world.compare(batch("a", "b"), 0.5, 0.75)
    guess = (0.25 + 0.5) / 2
    assert SHEET.column("gap/deviation", found.tallies["all"]) == pytest.approx(0.25**2 + 0.5**2)
    assert world.regard(batch("c")).expected == {"gap": pytest.approx(guess)}
    world.witness.drain()
    found = world.compare(batch("c"), 0.25)
    assert SHEET.column("gap/deviation", found.tallies["all"]) == pytest.approx(guess**2)


def test_both_answers_to_each_request_are_kept_with_their_slices() -> None:
    world = WitnessWorld()
    rows = batch("a", "b", ages=[20, 70, 70, 20], homes=[0, 1, 0, 0], rows=2, received=999.5)
    world.compare(rows, 0.1, 0.2, 0.3, 0.4)
    first, second = world.witness.drain().answers
    assert (first.request_id, first.first, first.total) == ("a", 0, 2)
    assert (second.request_id, second.first, second.total) == ("b", 0, 2)
    np.testing.assert_array_equal(first.before, rows.scores[:2])
    np.testing.assert_array_equal(second.after, scores(0.3, 0.4))
    assert first.slices is not None
    assert second.slices is not None
    assert (first.slices.tolist(), second.slices.tolist()) == ([0b00, 0b11], [0b10, 0b00])
    assert first.answered_at == world.wall() - 0.5


def test_rows_that_fell_out_of_the_middle_of_a_request_leave_two_parts() -> None:
    world = WitnessWorld()
    kept = batch("a", rows=5).take(np.array([1, 1, 0, 1, 1], np.bool_))
    world.compare(kept, 0.1, 0.2, 0.3, 0.4)
    found = [(each.first, each.total, len(each.after)) for each in world.witness.drain().answers]
    assert found == [(0, 5, 2), (3, 5, 2)]


@pytest.mark.parametrize("limits", [AnswerLimits(rows=5), AnswerLimits(nbytes=5 * (16 + 4 + 200))])
def test_answers_beyond_the_room_are_counted_and_their_sums_are_not_lost(limits: AnswerLimits) -> None:
    world = WitnessWorld(answers=limits)
    for name in "abcdefgh":
        world.compare(batch(name), 0.75)
    found = world.witness.drain()
    assert [answers.request_id for answers in found.answers] == list("abcde")
    assert found.lost_answers == 3
    assert column(found.books, "rows") == 8
    world.compare(batch("i"), 0.75)  # there is room again
    again = world.witness.drain()
    assert (len(again.answers), again.lost_answers) == (1, 0)


def test_of_a_share_of_the_requests_the_same_ones_are_kept_as_everywhere() -> None:
    world = WitnessWorld(answers=AnswerLimits(share=0.3))
    names = [f"r{number}" for number in range(200)]
    world.compare(batch(*names), *[0.5] * 200)
    found = world.witness.drain()
    assert [answers.request_id for answers in found.answers] == [n for n in names if share_of(n) < 0.3]
    assert found.lost_answers == 0


def test_rows_that_were_left_out_are_binned_but_for_the_canarys() -> None:
    world = WitnessWorld()
    world.witness.left_out(batch("a", rows=3))
    world.witness.left_out(batch("b", canary=True))
    assert world.witness.drain().books[Page(LEFT_OUT, "score")].tolist() == [3.0]


def test_regions_of_both_models_are_asked_for_and_compared() -> None:
    asked: list[Scores] = []

    def possible(rows: FeatureBatch, found: Scores) -> np.ndarray:
        asked.append(found)
        return np.asarray(found > 0.3)

    world = WitnessWorld(before_regions=possible, after_regions=possible)
    world.compare(batch("a", "b"), 0.25, 0.9)
    books = world.witness.drain().books
    assert column(books, "region_overlap/rows") == 2
    assert column(books, "beyond/beyond") == 1  # {bad} and {good} have nothing in common
    assert [each[:, 1].tolist() for each in asked] == [[0.25, 0.25], pytest.approx([0.25, 0.9])]


def test_a_model_whose_regions_fail_is_compared_without_and_it_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(rows: FeatureBatch, found: Scores) -> np.ndarray:
        raise ZeroDivisionError

    world = WitnessWorld(before_regions=broken, after_regions=lambda rows, found: found > 0.3)
    with caplog.at_level(logging.ERROR, "understudy.shadow"):
        for name in "abc":
            world.compare(batch(name), 0.75)
    books = world.witness.drain().books
    assert (column(books, "rows"), column(books, "region_overlap/rows")) == (3, 0)
    assert len(caplog.records) == 1


def test_whatever_breaks_the_rest_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    world = WitnessWorld()
    world.bins.error = ValueError("no such bin")
    with caplog.at_level(logging.ERROR, "understudy.shadow"):
        world.compare(batch("a"), 0.75)
    found = world.witness.drain(everything=True)
    assert column(found.books, "rows") == 1
    assert Page(BINS, "score") not in found.books
    assert (len(found.answers), len(found.cases) > 0) == (1, True)
    assert "bins are incomplete" in caplog.text


def noisy(shift: float) -> Repeats:
    """Production that answers by ``shift`` more when it is asked again."""

    def again(rows: FeatureBatch, due: float) -> Scores:
        return scores(*[0.25 + shift] * len(rows))

    itself = sheet(Pair(spec(), spec()), DISAGREEMENT)
    variants = (Variant("threads", again, rows=3), Variant("alone", again, rows=2, alone=True))
    cpu = iter(np.arange(0.0, 1e6, 0.5))
    return Repeats(itself, variants, again, 1.0, clock=lambda: 1_000.0, cpu=lambda: float(next(cpu)))


def test_production_is_compared_with_itself_in_every_way() -> None:
    world = WitnessWorld(repeats=noisy(0.001))
    rows = batch("a", rows=8)
    world.witness.repeat(rows, rows.scores, 0.25, 1.0)
    books = world.witness.drain().books
    assert column(books, "rows", Page(NOISE, "threads")) == 3
    assert column(books, "rows", Page(NOISE, "alone")) == 2
    assert column(books, "gap/sum", Page(NOISE, "threads")) == pytest.approx(0.003, rel=1e-3)
    assert books[Page(SPEED, "all")][:4].tolist() == [8, 1, 0.5, 2.0]


def test_nothing_is_repeated_where_there_is_no_time() -> None:
    world = WitnessWorld(repeats=noisy(0.0))
    rows = batch("a")
    world.witness.repeat(rows, rows.scores, 0.25, 0.0)
    assert world.witness.drain().books == {}


def test_production_that_fails_when_asked_again_is_no_trouble() -> None:
    itself = sheet(Pair(spec(), spec()), DISAGREEMENT)
    world = WitnessWorld(repeats=Repeats(itself, (), too_late, 1.0))
    rows = batch("a")
    world.witness.repeat(rows, rows.scores, 0.25, 1.0)
    assert world.witness.drain().books == {}
