"""What the console says of drift: every window side by side, in words as well as shades; what is missing."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from service.http.console import console_page
from service.http.console.bins import MOST_BINS, shares
from service.http.console.blocks import Beside, Cell, Chart, Fold, Table, Traffic
from service.http.console.drift import MOST_MODELS, MOST_VARIABLES, traffic
from service.http.console.layout import MOST_BYTES
from service.http.console.words import NONE
from tests.http import drifts, reports
from tests.http.consoles import DRIFT, MODELS, NOW, PAGES, ROLLOUT, Reader, read


def told(document: dict[str, Any]) -> Traffic:
    return traffic(document, NOW)


def heat(found: Traffic, place: int = 0) -> Table:
    """The table of all windows; a candidate's is folded."""
    blocks = found.parts[place].blocks
    inside = [block for part in blocks if isinstance(part, Fold) for block in part.blocks]
    return next(block for block in [*blocks, *inside] if isinstance(block, Table))


def texts(row: tuple[Cell, ...]) -> list[str]:
    return [cell.text for cell in row]


def plain(found: Reader) -> str:
    return " ".join(found.words.split())


def test_every_variable_is_shown_for_all_windows_side_by_side() -> None:
    table = heat(told(DRIFT))
    assert table.head == ("Variable", "Last hour", "Last 6 hours", "Last 24 hours", "Since the start")
    counted, income, home, together = table.rows
    assert texts(counted) == ["Rows", "5,000", "30,000", "120,000", "150,000"]
    assert income[0].text == "Income"
    assert home[0].text == "Home"
    assert together[0].text == "All inputs together"
    excess = [
        each["windows"][name]["variables"][0]["measures"]["psi_excess"]
        for each in DRIFT["models"][:1]
        for name in drifts.WINDOWS
    ]
    assert [float(cell.text.split()[0]) for cell in income[1:]] == [round(value, 3) for value in excess]


def test_what_drifted_is_marked_in_words_and_signs_and_only_there() -> None:
    _, income, home, _ = heat(told(DRIFT)).rows
    drifted = ["feature:Income" in DRIFT["models"][0]["windows"][name]["drifted"] for name in drifts.WINDOWS]
    assert drifted == [True, True, False, False]
    assert [cell.text.endswith(" drifted") for cell in income[1:]] == drifted
    assert [cell.mark == "fail" for cell in income[1:]] == drifted
    assert not any("drifted" in cell.text or cell.mark or cell.shade for cell in home[1:])
    assert [cell.shade for cell in income[1:]] == [3, 3, 0, 0]


def test_a_large_shift_that_may_be_chance_stays_pale() -> None:
    document = deepcopy(DRIFT)
    measures = document["models"][0]["windows"]["1h"]["variables"][0]["measures"]
    measures |= {"psi_excess": 0.9, "psi_z": 1.0}
    assert heat(told(document)).rows[1][1].shade == 0


def test_what_drifted_lately_is_said_first() -> None:
    words = plain(read())
    assert "Drifted in the last hour: Income." in words
    document = deepcopy(DRIFT)
    for name in ("1h", "6h"):
        for entry in document["models"][0]["windows"][name]["variables"]:
            entry["drifted"] = False
    document["models"][0]["windows"]["start"]["variables"][0]["drifted"] = True
    words = plain(read(drift=document))
    assert "Drifted since the start: Income." in words


def test_the_bins_of_what_drifted_are_shown_now_and_in_the_reference_data() -> None:
    (fold,) = [block for block in told(DRIFT).parts[0].blocks if isinstance(block, Fold)]
    (beside,) = fold.blocks
    assert isinstance(beside, Beside)
    ((chart,),) = beside.columns
    assert isinstance(chart, Chart)
    assert chart.caption == "Income, last hour: share of the rows in each bin"
    assert "152 to 959: 23.3 % → 11.1 %" in chart.picture.description.replace("\u00a0", " ")
    assert chart.table is not None
    rows = {row[0].text: texts(row)[1:] for row in chart.table.rows}
    assert set(rows) >= {name.replace("_", " ") for name in drifts.MEASURES}
    assert rows["missing in the reference data"] == ["0.0667", "share of the rows"]
    assert float(rows["missing share"][0]) == pytest.approx(520 / 3_411, rel=1e-2)


def test_what_changed_most_is_said_in_plain_words() -> None:
    words = plain(read()).replace("\u00a0", " ")
    assert "Drifted in the last hour: Income. Most of all Income, 152 to 959: 23.3 % of the" in words
    assert "of the reference data, 11.1 % of the traffic." in words


def test_of_more_bins_than_there_is_room_for_those_that_changed_most_are_shown() -> None:
    """A value that training never saw is in the last bin; no share is of less than all rows."""
    names = [*(f"is {place}" for place in range(40)), "missing", "unseen"]
    before, after = [*([25] * 40), 0, 0], [*([20] * 40), 50, 150]
    bins = [{"bin": name, "reference": r, "live": n} for name, r, n in zip(names, before, after, strict=True)]
    chart = shares(bins, "bin", "Home")
    assert chart is not None
    said = chart.picture.description.replace("\u00a0", " ")
    assert "unseen: 0 % → 15 %" in said
    assert "missing: 0 % → 5 %" in said
    assert "all other bins: 67.5 % → 54 %" in said
    assert said.count(" % → ") == MOST_BINS


def test_whether_a_classifier_tells_live_rows_from_the_reference_is_shown() -> None:
    *_, together = heat(told(DRIFT)).rows
    assert together[1].text.replace("\u00a0", " ") == "58 % told, differs"
    document = deepcopy(DRIFT)
    document["models"][0]["windows"]["1h"]["two_sample"] |= {"accuracy": 0.501, "z": 0.3, "differs": False}
    document["models"][0]["windows"]["6h"]["two_sample"] = None
    *_, together = heat(told(document)).rows
    assert texts(together)[1].replace("\u00a0", " ") == "50.1 % told"
    assert texts(together)[2] == NONE


def test_inputs_that_drifted_only_together_are_told() -> None:
    document = deepcopy(DRIFT)
    for window in document["models"][0]["windows"].values():
        for entry in window["variables"]:
            entry["drifted"] = False
    said = "No variable has drifted by itself, but all of them together have, in the last hour."
    assert said in plain(read(drift=document))
    assert said not in plain(read())


def test_candidates_follow_production_and_are_folded() -> None:
    found = told(DRIFT)
    assert [part.title for part in found.parts] == ["credit:gbm-1, production", "credit:gbm-2, candidate"]
    assert any(isinstance(block, Table) for block in found.parts[0].blocks)
    assert not any(isinstance(block, Table) for block in found.parts[1].blocks)
    assert heat(found, 1).rows[1][0].text == "Income"


@pytest.mark.parametrize(
    ("document", "said", "word"),
    [
        (drifts.nothing(), "Nothing is known of drift: the shadow counts what is asked", "unknown"),
        (drifts.quiet(), "No row has been counted yet", "no rows yet"),
        ({}, "No row has been counted yet", "no rows yet"),
    ],
)
def test_where_there_is_nothing_the_page_says_why(document: dict[str, Any], said: str, word: str) -> None:
    found = told(document)
    assert said in " ".join(found.warnings)
    assert (found.word, found.drifted, found.parts) == (word, False, ())


def test_a_store_that_is_away_and_a_shadow_that_is_dead_are_told() -> None:
    assert told(DRIFT).warnings == ()
    later = plain(
        Reader(
            console_page(
                reports.report(), MODELS, ROLLOUT, DRIFT | {"store": "it is away"}, NOW + timedelta(hours=3)
            )
        )
    )
    assert "rows of other replicas may be missing: it is away" in later
    assert (
        later.count("The shadow has told nothing for 3 hours; what follows is old.") == 3
    )  # and each candidate


def test_rows_that_nobody_counted_are_told_and_many_are_a_warning() -> None:
    few = told(DRIFT)
    assert "not counted: 3 queue full, 40 shadow down" in few.as_of
    many = told(DRIFT | {"outcomes": {"counted": 1_000, "sampled_out": 9_000, "shadow_down": 11}})
    assert "nobody counted, since the start of this replica: 11 shadow down." in " ".join(many.warnings)


def test_too_few_rows_are_not_taken_for_no_drift() -> None:
    document = deepcopy(DRIFT)
    for each in document["models"]:
        for name in drifts.WINDOWS:
            each["windows"][name] = drifts.window(0.001)
    found = told(document)
    assert found.word == "too few rows"
    assert "No window has the 500 rows" in plain(read(drift=document))
    assert "No variable has drifted" not in plain(read(drift=document))


def test_the_index_tells_of_productions_drift() -> None:
    assert (told(DRIFT).word, told(DRIFT).drifted) == ("1 drifted", True)
    calm = deepcopy(DRIFT)
    for name in drifts.WINDOWS:
        calm["models"][0]["windows"][name]["variables"][0]["drifted"] = False
    assert (told(calm).word, told(calm).drifted) == ("drifted together", True)
    for name in drifts.WINDOWS:
        calm["models"][0]["windows"][name]["two_sample"]["differs"] = False
    assert (told(calm).word, told(calm).drifted) == ("no drift", False)
    old = traffic(calm, NOW + timedelta(hours=3))
    assert (old.word, old.drifted) == ("unknown", False)
    found = read()
    assert {"href": "#drift"} in found.every("a")


def test_more_models_and_variables_than_there_is_room_for_are_named() -> None:
    words = plain(Reader(PAGES["many drifts"]))
    assert len(PAGES["many drifts"]) <= MOST_BYTES
    assert f"The first {MOST_VARIABLES} of 200 variables; the JSON report holds all." in words
    assert f"{40 - MOST_MODELS} more models are in the JSON document" in words
    left_out = words.split("Left out for want of room: ")
    shown = 1 if len(left_out) == 1 else left_out[1].count("credit:")
    assert "credit:0, production" in left_out[0]
    assert shown < MOST_MODELS
