"""The document: what it says follows from sums, whoever added them up."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from service.domain.evidence.books import NOISE, add
from service.domain.evidence.cases import Case
from service.domain.evidence.document import Seen, assess, refused
from service.domain.evidence.verdict import Rules
from tests.domain.evidence.studies import YOUNG, seen_rows, study

NOW = 1_700_000_000.0
STUDY = study()


def of(books: Any, **other: Any) -> dict[str, Any]:
    return assess(STUDY, Seen(books, now=NOW, since=NOW - 60, **other))


def case(kind: Any, slice_: str, rank: float, name: str) -> Case:
    return Case(kind, slice_, rank, name, 0, NOW, {"severity": -rank})


def check(name: str, *, passed: bool, severity: str) -> dict[str, Any]:
    return {"name": name, "passed": passed, "severity": severity}


@pytest.mark.parametrize("books", [{}, seen_rows(STUDY, 500, labelled=True, again=True, deadline=20)])
def test_a_document_is_ready_for_json_whatever_was_seen(books: Any) -> None:
    found = of(books)
    assert json.loads(json.dumps(found, allow_nan=False)) == json.loads(json.dumps(found))


def test_nothing_seen_is_a_verdict_of_hold_and_says_nothing_of_rates() -> None:
    found = assess(STUDY, Seen({}, now=NOW))
    assert found["verdict"]["state"] == "hold"
    assert "thin_data" in {reason["code"] for reason in found["verdict"]["reasons"]}
    evidence = found["evidence"]
    assert evidence["rows"] == 0
    assert [evidence[name] for name in ("since", "coverage", "labelled")] == [None] * 3
    assert evidence["measures"]["flips"]["rate"] is None


def test_replicas_give_the_document_of_the_whole() -> None:
    parts = [
        seen_rows(STUDY, 300, seed=seed, shift=0.1 * seed, labelled=True, again=True) for seed in range(3)
    ]
    one_by_one = add([add(parts[:2]), parts[2]])
    whole, divided = of(add(parts)), of(one_by_one)
    assert divided == whole
    assert whole["evidence"]["rows"] == 900


def test_rows_differ_beyond_noise_only_once_production_was_compared_with_itself() -> None:
    alone = of(seen_rows(STUDY, 400, shift=0.2))["evidence"]
    assert alone["beyond_noise"] == {"rows": None, "share": None, "low": None, "high": None}
    assert alone["noise"] == {"variants": {}, "flip_rate": None, "gap": None}
    beside = of(seen_rows(STUDY, 400, shift=0.2, again=True))["evidence"]
    assert beside["noise"]["flip_rate"] == beside["noise"]["gap"] == 0.0
    beyond = beside["beyond_noise"]
    assert beyond["rows"] == 400
    assert beyond["low"] < beyond["share"] == 1.0 == beyond["high"]


def test_noise_that_leaves_all_buckets_is_still_ready_for_json() -> None:
    books = seen_rows(STUDY, 400, shift=0.2, again=True)
    (page,) = (page for page in books if page.book == NOISE)
    books[page] = books[page].copy()
    books[page][STUDY.itself.place("gap/le:inf")] = 1.0
    found = of(books)["evidence"]
    assert json.loads(json.dumps(found, allow_nan=False))["noise"]["gap"] is None
    assert found["beyond_noise"]["rows"] == 0


def test_each_slice_has_its_own_measures_and_labels() -> None:
    evidence = of(seen_rows(STUDY, 400, shift=0.1, labelled=True))["evidence"]
    young = evidence["slices"][YOUNG.name]
    assert 0 < young["rows"] < evidence["rows"]
    assert young["labelled"]["rows"] == young["rows"]
    assert young["gap"]["mean"] == pytest.approx(evidence["measures"]["gap"]["mean"], abs=0.02)
    unlabelled = of(seen_rows(STUDY, 400))["evidence"]
    assert unlabelled["labelled"] is None
    assert unlabelled["slices"][YOUNG.name]["labelled"] is None


def test_coverage_is_the_compared_share_of_all_that_was_mirrored() -> None:
    evidence = of(seen_rows(STUDY, 300, deadline=60, shadow_down=40))["evidence"]
    assert evidence["coverage"] == 0.75
    assert evidence["outcomes"]["deadline"] == 60


def test_cases_come_worst_first_and_samples_by_their_slice() -> None:
    cases = [
        case("worst", "all", -0.2, "mild"),
        case("sample", "young", 0.3, "b"),
        case("worst", "all", -1.5, "bad"),
        case("sample", "young", 0.1, "a"),
        case("sample", "all", 0.2, "c"),
    ]
    found = of({}, cases=cases)["evidence"]["cases"]
    assert [each["request_id"] for each in found["worst"]] == ["bad", "mild"]
    assert found["worst"][0]["severity"] == 1.5
    assert {name: [each["request_id"] for each in found["samples"][name]] for name in found["samples"]} == {
        "young": ["a", "b"],
        "all": ["c"],
    }


def test_a_check_that_fails_holds_a_candidate_unless_it_only_warns() -> None:
    books = seen_rows(STUDY, 20_000, again=True)
    assert of(books)["verdict"]["state"] == "promote"
    for severity, state in (("warn", "promote"), ("error", "hold")):
        behaviour = {
            "passed": severity == "warn",
            "checks": [check("monotone", passed=False, severity=severity)],
        }
        found = of(books, behaviour=behaviour)
        assert found["verdict"]["state"] == state
        assert found["evidence"]["behaviour"] == behaviour


def test_a_store_that_is_away_does_not_change_the_verdict_but_is_named() -> None:
    books = seen_rows(STUDY, 20_000, again=True)
    found = of(books, store="it is locked")
    assert found["verdict"] == of(books)["verdict"]
    assert found["evidence"]["store"] == "it is locked"


def test_a_newer_verdict_may_stand_beside_evidence_that_says_how_old_it_is() -> None:
    first = of(seen_rows(STUDY, 100))
    seen = Seen(seen_rows(STUDY, 20_000), now=NOW + 3)
    later = assess(STUDY, seen, first["evidence"])
    assert later["verdict"] == assess(STUDY, seen)["verdict"] != first["verdict"]
    assert later["evidence"] is first["evidence"]
    assert later["verdict"]["as_of"] > later["evidence"]["as_of"]


def test_the_rules_decide() -> None:
    books = seen_rows(STUDY, 20_000, shift=0.02, again=True)
    strict = replace(STUDY, rules=Rules(flip_rate=0.001, gap=0.001))
    assert of(books)["verdict"]["state"] == "promote"
    assert assess(strict, Seen(books, now=NOW))["verdict"]["state"] == "rollback"


def test_a_candidate_that_cannot_be_run_is_held_and_says_why() -> None:
    found = refused(Rules(), "it fails parity", NOW)
    assert found["verdict"]["state"] == "hold"
    assert found["verdict"]["reasons"] == [{"code": "refused", "detail": "it fails parity"}]
    assert found["verdict"].keys() == of({})["verdict"].keys()
    assert found["evidence"] is None
