"""The timeline: each entry is what was known then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.domain.evidence.books import LABELLED, OUTCOMES, Page, add
from service.domain.evidence.document import Seen, assess
from service.domain.evidence.timeline import PAGES, POINTS
from service.domain.evidence.verdict import Rules
from service.domain.slices import ALL
from tests.domain.evidence.studies import seen_rows, study

STUDY = study()
FIRST = 470_000
"""Hours since 1970."""


def entries(parts: dict[int, Any]) -> list[dict[str, Any]]:
    hours = {
        page: [(hour, books[page]) for hour, books in sorted(parts.items()) if page in books]
        for page in PAGES
    }
    books = add(parts.values())
    now = (max(parts, default=FIRST) + 0.5) * 3600
    found: list[dict[str, Any]] = assess(STUDY, Seen(books, hours, now=now))["evidence"]["timeline"]
    return found


def test_rows_add_up_from_hour_to_hour() -> None:
    found = entries({FIRST + hour: seen_rows(STUDY, 100, seed=hour) for hour in range(5)})
    assert [entry["rows"] for entry in found] == [100, 200, 300, 400, 500]
    assert [entry["at"] for entry in found] == sorted(entry["at"] for entry in found)


def test_hours_that_are_kept_no_more_still_count() -> None:
    parts = {FIRST + hour: seen_rows(STUDY, 100, seed=hour, labelled=True) for hour in range(5)}
    hours = {page: [(hour, parts[hour][page]) for hour in sorted(parts)[2:]] for page in PAGES}
    kept = assess(STUDY, Seen(add(parts.values()), hours, now=(FIRST + 4.5) * 3600))
    assert kept["evidence"]["timeline"][1:] == entries(parts)[3:]
    assert [entry["rows"] for entry in kept["evidence"]["timeline"]] == [300, 400, 500]


def test_bounds_become_narrower() -> None:
    found = entries({FIRST + hour: seen_rows(STUDY, 600, seed=hour, shift=0.02) for hour in range(6)})
    widths = [entry["flip_rate_high"] - entry["flip_rate_low"] for entry in found]
    assert widths == sorted(widths, reverse=True)
    assert found[0]["state"] == "hold"


def test_the_last_entry_is_the_present_verdict() -> None:
    parts = {
        FIRST + hour: seen_rows(STUDY, 20_000, seed=hour, labelled=True, again=True) for hour in range(2)
    }
    found = assess(STUDY, Seen(add(parts.values()), now=FIRST * 3600.0))
    (only,) = found["evidence"]["timeline"]
    assert only["state"] == found["verdict"]["state"] == "promote"
    flips = next(each for each in found["verdict"]["criteria"] if each["name"] == "flip_rate")
    assert (only["flip_rate"], only["flip_rate_low"]) == (flips["value"], flips["low"])


def test_required_labels_of_slices_that_no_hour_has_do_not_hold_the_past() -> None:
    strict = study(Rules(labels="required"))
    rows = {
        FIRST + hour: seen_rows(strict, 20_000, seed=hour, labelled=True, again=True) for hour in range(2)
    }
    hours = {page: [(hour, books[page]) for hour, books in rows.items()] for page in PAGES}
    seen = Seen(add(rows.values()), hours, now=(FIRST + 1.5) * 3600)
    found = assess(strict, seen)["evidence"]["timeline"]
    assert [entry["state"] for entry in found] == ["promote", "promote"]


def test_a_window_tells_what_a_long_time_hides() -> None:
    books = [seen_rows(STUDY, 300, seed=hour) for hour in range(3)]
    backwards = STUDY.agreement.empty()
    for name, rows in {"rows": 300, "rank/0,3": 150, "rank/3,0": 150}.items():
        backwards[STUDY.agreement.place(name)] = rows
    books[1] = books[1] | {PAGES[0]: backwards}
    windows = [entry["window"] for entry in entries({FIRST + hour: each for hour, each in enumerate(books)})]
    assert [window["rows"] for window in windows] == [300, 300, 300]
    assert [window["spearman"] for window in windows] == pytest.approx([1, -1, 1])
    assert [window["kendall"] for window in windows] == pytest.approx([1, -1, 1])


def test_labels_count_from_the_hour_in_which_they_came() -> None:
    late = {
        page: sums
        for page, sums in seen_rows(STUDY, 1_000, labelled=True).items()
        if page == Page(LABELLED, ALL)
    }
    parts = {FIRST: seen_rows(STUDY, 1_000), FIRST + 1: seen_rows(STUDY, 10, seed=1), FIRST + 2: late}
    found = entries(parts)
    assert [entry["accuracy"] is None for entry in found] == [True, True, False]


def test_a_long_time_is_shown_in_few_entries_the_first_and_the_last_among_them() -> None:
    outcome = {Page(OUTCOMES, ALL): np.array([1.0] + [0.0] * 7)}
    parts = {FIRST + hour: outcome for hour in range(1_000)}
    parts[FIRST + 999] = seen_rows(STUDY, 50)
    found = entries(parts)
    assert len(found) == POINTS + 1
    assert found[0]["rows"] == 0
    assert found[-1]["rows"] == 50


@pytest.mark.parametrize("parts", [{}, {FIRST: seen_rows(STUDY, 10)}])
def test_there_is_always_the_present(parts: dict[int, Any]) -> None:
    assert len(entries(parts)) == 1
