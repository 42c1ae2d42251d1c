"""A verdict is new whenever it can be, and costs nothing where it cannot."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from service.domain.evidence.cases import Case
from service.domain.evidence.document import Seen, assess
from service.paths.judge import EVIDENCE_SECONDS, Judge
from tests.domain.evidence.studies import seen_rows, study

NOW = 1_700_000_000.0
STUDY = study()
FEW, MANY = seen_rows(STUDY, 50), seen_rows(STUDY, 20_000)


class Clerk:
    """Counts how often a judge works out what."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.verdicts = self.evidence = 0
        self.judge = Judge(STUDY, None, self.said.append, self._assess)

    def _assess(self, one: Any, seen: Seen, evidence: Any) -> dict[str, Any]:
        self.verdicts += 1
        self.evidence += evidence is None
        return assess(one, seen, evidence)


@pytest.fixture
def clerk() -> Clerk:
    return Clerk()


def at(found: dict[str, Any], part: str) -> float:
    return datetime.fromisoformat(found[part]["as_of"]).timestamp()


def test_a_verdict_is_new_as_soon_as_anything_was_seen(clerk: Clerk) -> None:
    clerk.judge(Seen(FEW, now=NOW))
    found = clerk.judge(Seen(MANY, now=NOW + 1))
    assert clerk.said == ["hold", "promote"]
    assert (at(found, "verdict"), at(found, "evidence")) == (NOW + 1, NOW)
    assert found["evidence"]["rows"] == 50


def test_what_it_rests_on_follows_in_some_seconds(clerk: Clerk) -> None:
    clerk.judge(Seen(FEW, now=NOW))
    clerk.judge(Seen(MANY, now=NOW + 1))
    found = clerk.judge(Seen(MANY, now=NOW + EVIDENCE_SECONDS))
    assert found["evidence"]["rows"] == 20_000
    assert at(found, "evidence") == NOW + EVIDENCE_SECONDS
    assert clerk.evidence == 2


def test_at_rest_only_the_time_moves_on(clerk: Clerk) -> None:
    first = clerk.judge(Seen(MANY, now=NOW))
    for second in range(1, 100):
        found = clerk.judge(Seen(dict(MANY), now=NOW + second))
    assert clerk.verdicts == 1
    assert (at(found, "verdict"), at(found, "evidence")) == (NOW + 99, NOW + 99)
    assert found["verdict"] | {"as_of": ""} == first["verdict"] | {"as_of": ""}
    assert len(clerk.said) == 100, "the metric is not told, so that a page that was lost stays lost"


@pytest.mark.parametrize("change", ["a case", "the store"])
def test_what_is_beside_the_sums_is_news_as_well(clerk: Clerk, change: str) -> None:
    clerk.judge(Seen(MANY, now=NOW))
    case = Case("worst", "all", -1.0, "r", 0, NOW, {"severity": 1.0})
    seen = Seen(
        MANY, cases=[case] if change == "a case" else [], store="away" if change == "the store" else "ok"
    )
    later = NOW + EVIDENCE_SECONDS
    found = clerk.judge(Seen(seen.books, cases=seen.cases, store=seen.store, now=later))
    assert clerk.evidence == 2
    assert (len(found["evidence"]["cases"]["worst"]), found["evidence"]["store"]) == (
        (1, "ok") if change == "a case" else (0, "away")
    )


def test_a_clock_that_was_put_back_holds_up_nothing(clerk: Clerk) -> None:
    clerk.judge(Seen(FEW, now=NOW))
    found = clerk.judge(Seen(MANY, now=NOW - 86_400))
    assert found["evidence"]["rows"] == 20_000


def test_the_behavioural_suite_is_part_of_the_verdict() -> None:
    behaviour = {"passed": False, "checks": [{"name": "steady", "passed": False, "severity": "error"}]}
    found = Judge(STUDY, behaviour, lambda state: None)(Seen(MANY, now=NOW))
    assert found["verdict"]["state"] == "hold"
    assert found["evidence"]["behaviour"] == behaviour
