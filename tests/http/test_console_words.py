"""How the console writes numbers and times, and reads documents that lack some."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.http.console import words
from service.http.console.reading import at, entries, mapping, moment, real, text
from tests.domain.pictures.documents import typed


def plain(said: str) -> str:
    return typed(said).replace(words.SPACE, " ")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0124, "1.24 %"),
        (0.5, "50 %"),
        (1.0, "100 %"),
        (0.0, "0 %"),
        (0.00021, "0.021 %"),
        (0.0000001, "1e-5 %"),
        (-0.031, "-3.1 %"),
        (12.0, "1200 %"),
        (None, words.NONE),
    ],
)
def test_shares_have_three_digits_and_a_unit(value: float | None, said: str) -> None:
    assert plain(words.share(value)) == said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("00 below 18", "below 18"),
        ("11 18 to 22", "18 to 22"),
        ("is rent", "rent"),
        ("is is", "is"),
        ("other words", "other words"),
        ("missing", "missing"),
        ("2026 or later", "2026 or later"),
        (None, "unknown"),
    ],
)
def test_bins_are_told_without_what_sorts_them(name: str | None, said: str) -> None:
    assert words.bin_of(name) == said


@pytest.mark.parametrize(("value", "said"), [(0.016, "+1.6 points"), (-0.01, "-1 points"), (0.0, "0 points")])
def test_differences_of_shares_have_a_sign(value: float, said: str) -> None:
    assert plain(words.points(value)) == said


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.01, 0.02, "1 to 2 %"), (None, 0.02, f"{words.NONE} to 2 %"), (None, None, words.NONE)],
)
def test_two_bounds_share_their_unit(low: float | None, high: float | None, said: str) -> None:
    assert plain(words.span(words.share, low, high)) == said
    assert plain(words.span(words.amount, 0.5, 1.0)) == "0.5 to 1"


@pytest.mark.parametrize(
    ("value", "said"), [(2.5, "2.5 s"), (0.0041, "4.1 ms"), (4.1e-6, "4.1 µs"), (3e-9, "3 ns"), (0.0, "0 ns")]
)
def test_durations_have_the_unit_that_suits_them(value: float, said: str) -> None:
    assert plain(words.seconds(value)) == said


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(seconds=-3), "0 seconds"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(seconds=119), "119 seconds"),
        (timedelta(minutes=119), "119 minutes"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(days=400), "400 days"),
    ],
)
def test_ages_are_told_in_a_unit_of_which_there_are_two(length: timedelta, said: str) -> None:
    assert words.age(length) == said


def test_moments_are_read_in_utc_and_written_with_it() -> None:
    noon = datetime(2026, 11, 2, 12, tzinfo=UTC)
    for written in ("2026-11-02T12:00:00Z", "2026-11-02T14:00:00+02:00", "2026-11-02T12:00:00"):
        assert moment({"at": written}, "at") == noon
    assert words.when(noon) == "2 Nov 2026, 12:00:00 UTC"
    assert moment({"at": "noon"}, "at") is None
    assert moment({"at": "0001-01-01T00:00:00+14:00"}, "at") is None


def test_guesses_claim_no_more_than_two_digits() -> None:
    assert [words.about(value) for value in (84, 1_150, 19_779)] == ["84", "1,200", "20,000"]


def test_variables_are_told_without_their_prefix() -> None:
    assert words.variable("feature:Age") == "Age"
    assert words.variable("score") == "score"
    assert words.variable("domain") == "distance from the reference data"
    assert words.variable("feature:domain") == "domain"
    assert words.variable("score:good") == "score of good"
    assert words.variable(None) == "unknown"


@pytest.mark.parametrize("found", [None, True, "1", [1], {}, float("nan"), float("inf"), 10**400, 1e300])
def test_what_is_no_quantity_is_none(found: Any) -> None:
    assert real({"x": found}, "x") is None


def test_nothing_is_found_where_nothing_is() -> None:
    document = {"a": {"b": 1}, "list": [1, {"c": 2}, None], "words": "x" * 500}
    assert at(document, "a", "b", "c") is None
    assert mapping(document, "list") == {}
    assert entries(document, "list") == [{"c": 2}]
    assert entries(document, "words") == []
    assert text(document, "a") is None
    assert len(text(document, "words") or "") == 201
