"""What the console says: the verdict first, every number in its unit, and what is missing in words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from service.http.console import CONTENT_SECURITY_POLICY, console_page
from service.http.console.agreement import difference
from service.http.console.blocks import Beside, Table
from service.http.console.words import OUTCOMES
from tests.http import reports
from tests.http.consoles import DRIFT, MODELS, NOW, PAGES, ROLLOUT, Reader, alone, read
from tests.http.evidence import case


def test_the_verdict_comes_first_in_words() -> None:
    words = " ".join(read().words.split())
    assert words.index("Promote It is surely better than production.") < words.index(
        "Criteria of the verdict"
    )
    assert "Roll back It is surely worse than a margin allows." in words
    said = "Rows with another label: surely beyond its margin. 9.4 %, bounds 9.05 to 9.76 %; at most 5 %."
    assert said in words


def test_every_criterion_tells_value_bounds_margin_rows_and_state() -> None:
    rows = [[cell.strip() for cell in row] for row in read().rows]
    first = next(row for row in rows if row[0] == "Rows with another label" and len(row) == 7)
    assert first[1] == "✓ passes"
    assert first[3:] == ["1.2 %", "1.07 to 1.34 %", "at most 5 %", "48,200"]
    slice_ = next(row for row in rows if row[0] == "Accuracy gained or lost, in renters")
    assert slice_[3:] == ["+2.1 points", "-1.4 to +5.6 points", "at least -5 points", "900"]
    undecided = next(row for row in rows if "undecided" in "".join(row))
    assert undecided[-1] == "21,000"


def test_more_rows_are_told_while_it_holds() -> None:
    candidate = reports.better()
    candidate["verdict"] |= {
        "state": "hold",
        "because": None,
        "reasons": [{"code": "thin_data", "detail": "540 of at least 1000 rows are compared"}],
        "more_rows": 12_034,
    }
    words = read(alone(candidate)).words
    assert "About 12,000 more rows until it can be decided." in words
    assert "Too few rows have been compared. 540 of at least 1000 rows are compared." in words


def test_criteria_that_wait_for_labels_are_counted_not_listed() -> None:
    candidate = reports.better()
    idle = reports.criterion("accuracy", None, -1.0, 1.0, -0.05, 0, "waived", direction="at_least")
    candidate["verdict"]["criteria"] = [
        *candidate["verdict"]["criteria"][:3],
        *(idle | {"slice": f"s{place}"} for place in range(5)),
    ]
    found = read(alone(candidate))
    assert "5 more need labels and are waived until these come." in found.words
    assert not any("waived" in "".join(row) for row in found.rows)


def test_details_that_are_older_than_the_verdict_say_so() -> None:
    candidate = reports.better()
    assert "details as of" not in read(alone(candidate)).words
    candidate["evidence"]["as_of"] = (NOW - timedelta(seconds=30)).isoformat()
    assert "; details as of 22 Nov 2026, 21:03:40 UTC" in read(alone(candidate)).words


def test_rows_whose_evidence_is_not_written_yet_are_not_taken_for_none() -> None:
    candidate = reports.better()
    candidate["evidence"]["rows"] = 0
    words = read(alone(candidate)).words
    assert "Rows have been compared; what they show is written down within seconds." in words
    assert "Nothing has been compared" not in words
    assert "No compared row got another label" not in words


def test_the_age_of_the_evidence_is_told() -> None:
    later = console_page(reports.report(), MODELS, ROLLOUT, DRIFT, NOW + timedelta(hours=3))
    assert "22 Nov 2026, 21:04:06 UTC, 4 seconds old" in read().words
    assert "3 hours old" in Reader(later).words


def test_evidence_that_nobody_renews_is_told_before_its_verdict() -> None:
    later = console_page(reports.report(), MODELS, ROLLOUT, DRIFT, NOW + timedelta(hours=3))
    words = Reader(later).words
    said = words.index("The shadow has told nothing for 3 hours; what follows is old.")
    assert said < words.index("It is surely better than production.")
    assert "told nothing" not in read().words


def test_every_outcome_is_told_in_words() -> None:
    candidate = reports.worse()
    candidate["rows"] |= dict.fromkeys(OUTCOMES, 17)
    rows = read(alone(candidate)).rows
    for said in OUTCOMES.values():
        assert any(row[:2] == [said, "17"] for row in rows)


@pytest.mark.parametrize(("classes", "kinds"), [(6, [Beside]), (7, [Table, Beside])])
def test_a_matrix_of_many_classes_has_the_whole_width(classes: int, kinds: list[type]) -> None:
    candidate = reports.better()
    pairs = [{"from": str(place), "to": str((place + 1) % classes), "rows": 5} for place in range(classes)]
    candidate["evidence"]["measures"]["flips"]["matrix"] = pairs
    part = difference(candidate)
    assert part is not None
    assert [type(block) for block in part.blocks] == kinds


def test_who_was_right_is_told_with_the_rows_that_tell_them_apart() -> None:
    rows = read().rows
    assert ["Production right", "3,950 (79 %)", "90 (1.8 %)"] in rows
    assert ["Production wrong", "170 (3.4 %)", "790 (15.8 %)"] in rows
    assert ["Accuracy", "80.8 %", "82.4 %", "+1.6 points"] in rows


def test_a_worst_case_shows_inputs_answers_and_both_reasons() -> None:
    found = read()
    for row in (["Home", "rent"], ["Records", "not kept"], ["Debt", "missing"], ["bad", "87 %", "6 %"]):
        assert row in found.rows
    assert "1. bad (87 %) → good (94 %)" in found.words
    assert "Both models' reasons, by tree-exact" in found.words
    assert sum("Both models' reasons side by side" in said for said in found.spoken.values()) >= 2


def test_a_value_that_reads_like_a_redacted_one_is_shown_unless_it_is_one() -> None:
    candidate = reports.better()
    candidate["evidence"]["cases"]["worst"] = [case() | {"inputs": {"State": "dropped"}, "redacted": []}]
    assert ["State", "dropped"] in read(alone(candidate)).rows


def test_an_image_is_drawn() -> None:
    candidate = reports.better()
    digit = {"inputs": {"image": [[0.0, 1.0], [2.0, 3.0]]}, "redacted": []}
    candidate["evidence"]["cases"]["worst"] = [case() | digit]
    assert len(read(alone(candidate)).every("image")) == 1
    assert "img-src data:" in CONTENT_SECURITY_POLICY


def test_a_regression_is_told_in_its_own_measures() -> None:
    candidate = reports.better()
    evidence = candidate["evidence"]
    evidence["measures"] = {
        "gap": evidence["measures"]["gap"],
        "tolerance": {"within": 46_000, "share": 0.954},
        "numeric_gap": {"mean_absolute": 1.25, "mean_relative": 0.031, "root_mean_square": 2.0},
    }
    evidence["labelled"] = {
        "rows": 500,
        "nearer": {"production": 200, "candidate": 250, "equal": 50, "candidate_share": 0.5556},
        "loss": {"production": 0.2, "candidate": 0.19, "difference": -0.01},
    }
    evidence["cases"]["worst"] = [{"production": {"value": 151.0}, "candidate": {"value": 203.5}}]
    candidate["verdict"]["criteria"] = [
        reports.criterion("beyond_tolerance", 0.046, 0.043, 0.049, 0.05, 48_200)
    ]
    found = read(alone(candidate))
    assert ["Candidate nearer", "250", "50 %"] in found.rows
    assert "mean score gap, in spreads" in found.words
    assert "1 is the standard deviation of production's answers" in found.words
    assert "the largest difference of its probabilities, from 0 to 1" in read().words
    for said in ("151 → 203.5", "4.6 %", "1.25", "3.1 %", "Rows beyond the tolerance, with its bounds"):
        assert said in found.words


def test_checks_of_behaviour_say_which_fail() -> None:
    found = read()
    assert "2 of 3 checks pass." in found.words
    assert ["more income never hurts", "directional", "✗ fails", "400", "91.2 %", "98 %"] in found.rows


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ("no candidate", "Nothing is shadowed."),
        ("nothing compared", "Nothing has been compared yet."),
        ("nothing compared", "No verdict yet"),
        ("refused", "The candidate may not serve. Credit:gbm-2 fails parity: row 7 by 0.31."),
        ("many candidates", "Not shown here, but in the JSON report: credit:gbm-32,"),
    ],
)
def test_what_is_missing_is_said_in_words(report: str, said: str) -> None:
    assert said in " ".join(Reader(PAGES[report]).words.split())


def test_a_candidate_without_labels_says_how_to_send_them() -> None:
    candidate = reports.better()
    candidate["evidence"]["labelled"] = None
    verdict = candidate["verdict"]
    verdict["criteria"] = [each for each in verdict["criteria"] if each["name"] not in ("accuracy", "loss")]
    assert "No label has come yet" in read(alone(candidate)).words


def test_a_store_or_a_shadow_that_is_down_is_said() -> None:
    candidate = reports.better()
    candidate["evidence"]["store"] = "the disk is full"
    loading = {"candidates": [{"name": "credit", "version": "gbm-2", "state": "loading"}]}
    words = read(alone(candidate | {"state": "paused"}), models=loading).words
    for said in ("the disk is full", "The shadow is not running", "is paused for a while"):
        assert said in words


def test_labels_that_only_the_verdict_knows_yet_are_not_taken_for_none() -> None:
    candidate = reports.better()
    candidate["evidence"]["labelled"] = None
    candidate["verdict"]["criteria"] = [reports.criterion("loss", 0.01, 0.0, 0.02, 0.01, 1_600)]
    words = read(alone(candidate)).words
    assert "Labels have come; what they show is written down within seconds." in words
    assert "No label has come yet" not in words


@pytest.mark.parametrize(
    ("rollout", "said"),
    [
        (ROLLOUT, "credit:gbm-2 answers 5 % of the routing keys"),
        (ROLLOUT | {"breaker": "open"}, "production answers all requests"),
        (ROLLOUT | {"candidate": None, "share_basis_points": 0}, "no canary is running"),
        (
            ROLLOUT | {"refused": {"at": "now", "reason": "no such candidate"}},
            "was refused: no such candidate",
        ),
        ({}, "no canary is running"),
    ],
)
def test_the_state_of_the_canary_is_told(rollout: dict[str, Any], said: str) -> None:
    assert said in read(rollout=rollout).words
