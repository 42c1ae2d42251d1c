"""The console: whatever the documents hold, the page is whole, safe, bounded, and can be heard."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.pictures.layout import INKS
from service.http.console import CONTENT_SECURITY_POLICY, HEADERS, console
from service.http.console.layout import EXPENDABLE, MOST_BYTES, PAGE_STYLE
from service.http.console.page import MOST_CANDIDATES
from service.http.edge import Reply
from tests.http import drifts, reports
from tests.http.consoles import DRIFT, PAGES, Reader, page
from tests.http.evidence import case

LANDMARKS = ("header", "main", "footer")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_nothing_of_anybody(name: str) -> None:
    found = Reader(PAGES[name])
    tags = {tag for tag, _ in found.elements}
    assert found.open == []
    assert not {"script", "link", "iframe", "object", "form", "base", "img", "input", "button"} & tags
    for _, attributes in found.elements:
        assert not any(key.startswith("on") or key in ("src", "style", "srcset") for key in attributes)
    assert not re.search(rb"https?:|url\(|@import|javascript:", PAGES[name])


@pytest.mark.parametrize("name", PAGES)
def test_the_policy_allows_a_page_its_own_style_and_nothing_else(name: str) -> None:
    styles = re.findall(r"<style>(.*?)</style>", PAGES[name].decode(), re.DOTALL)
    assert styles == [PAGE_STYLE]
    digest = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'")
    assert "unsafe" not in CONTENT_SECURITY_POLICY


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_heard(name: str) -> None:
    found = Reader(PAGES[name])
    assert found.every("html") == [{"lang": "en"}]
    for landmark in LANDMARKS:
        assert len(found.every(landmark)) == 1
    assert all(attributes.get("aria-label") for attributes in found.every("nav"))
    levels = [level for level, _ in found.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(text.strip() for _, text in found.headings)
    tables = [tag for tag, _ in found.elements if tag in ("table", "caption")]
    assert tables == ["table", "caption"] * len(found.every("table"))
    assert all(attributes.get("scope") in ("col", "row") for attributes in found.every("th"))
    for attributes in found.every("svg"):
        assert attributes["role"] == "img"
        assert len((attributes["aria-labelledby"] or "").split()) == 2
    for _, attributes in found.elements:
        for spoken in (attributes.get("aria-labelledby") or "").split():
            assert found.spoken[spoken].strip()


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere_and_no_two_elements_share_an_id(name: str) -> None:
    found = Reader(PAGES[name])
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attributes in found.every("a"):
        target = attributes["href"] or ""
        assert target in ("/shadow/report", "/drift") or target.removeprefix("#") in ids


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_bounded_and_says_no_number_that_is_none(name: str) -> None:
    assert len(PAGES[name]) <= MOST_BYTES
    assert not re.search(r"\b(nan|inf|None|Undefined)\b", Reader(PAGES[name]).words)


def test_hostile_words_are_shown_as_words() -> None:
    found = Reader(PAGES["hostile"])
    assert "</text><script>alert(1)</script>" in found.words
    for forbidden in ("\u202e", "\x00"):
        assert forbidden not in PAGES["hostile"].decode()


def test_the_same_documents_give_the_same_page() -> None:
    assert page() == PAGES["two candidates"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def spots(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every part of a document."""
    inside = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in inside:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from spots(value, (*path, key))


def changed(document: Any, changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
    """The document with some of its parts replaced, as far as they are still there."""
    made = deepcopy(document)
    for path, value in changes:
        place: Any = made
        for key in path[:-1]:
            inside = isinstance(place, dict) and key in place
            inside = inside or (isinstance(place, list) and isinstance(key, int) and key < len(place))
            place = place[key] if inside else None
        if isinstance(place, dict) or (isinstance(place, list) and path[-1] in range(len(place))):
            place[path[-1]] = value
    return made


def some(document: Any) -> st.SearchStrategy[list[tuple[tuple[Any, ...], Any]]]:
    """Changes of any parts of a document."""
    return st.lists(st.tuples(st.sampled_from(list(spots(document))), JSON), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(some(reports.report()))
def test_any_part_of_a_report_may_be_anything(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    assert Reader(page(changed(reports.report(), changes))).open == []


@settings(max_examples=60, deadline=None, derandomize=True)
@given(some(DRIFT))
def test_any_part_of_drift_may_be_anything(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    assert Reader(page({}, drift=changed(DRIFT, changes))).open == []


def test_many_candidates_have_an_index_at_the_top() -> None:
    found = Reader(PAGES["many candidates"])
    assert len(found.every("article")) == MOST_CANDIDATES
    assert len(found.every("li")) >= MOST_CANDIDATES
    assert found.words.index("credit:gbm-31") < found.words.index("Criteria")


def test_a_page_of_endless_lists_is_cut_and_says_so() -> None:
    candidate = reports.better()
    evidence = candidate["evidence"]
    evidence["cases"]["worst"] = [case(place) for place in range(500)]
    evidence["slices"] = {f"slice {place}": evidence["slices"]["young"] for place in range(500)}
    evidence["measures"]["flips"]["matrix"] = [
        {"from": f"c{before}", "to": f"c{after}", "rows": 1} for before in range(60) for after in range(60)
    ]
    for key in ("drift", "timeline"):
        evidence[key] = evidence[key] * 100
    everything = {"production": reports.PRODUCTION, "candidates": [candidate] * 30}
    found = page(everything)
    assert len(found) <= MOST_BYTES
    left_out = re.search(
        r"Left out for want of room: (.*)\. The JSON report holds all\.", Reader(found).words
    )
    assert left_out is not None
    named = left_out[1].split(", ")
    assert named == [title for title in EXPENDABLE if title in named]
    few = page({"production": reports.PRODUCTION, "candidates": [candidate] * 2})
    assert "of 500 slices; the JSON report holds all" in Reader(few).words
    assert "Left out for want of room" not in Reader(few).words


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def mixed(one: str, other: str, share: float) -> str:
    pairs = [(int(one[place : place + 2], 16), int(other[place : place + 2], 16)) for place in (1, 3, 5)]
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in pairs)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_and_charts_stand_out_from_their_ground(scheme: int) -> None:
    inks: dict[str, str] = {ink: pair[scheme] for ink, pair in INKS.items()}
    (darkest,) = re.findall(r"\.s5\{background:color-mix\(in srgb,var\(--raise\) (\d+)%", PAGE_STYLE)
    ground = mixed(inks["raise"], inks["paper"], int(darkest) / 100)
    for ink in ("text", "muted", "warning"):
        assert contrast(inks[ink], inks["paper"]) >= 4.5
    assert contrast(inks["text"], ground) >= 4.5
    for ink in ("raise", "lower", "muted", "warning"):
        for paper in ("paper", "band"):
            assert contrast(inks[ink], inks[paper]) >= 3


def test_the_page_is_sent_with_its_policy_and_never_kept() -> None:
    served = console(reports.report, reports.models, reports.rollout, drifts.drift)

    async def look() -> Reply:
        return await served()

    reply = asyncio.run(look())
    assert reply.content_type == b"text/html; charset=utf-8"
    assert reply.headers == HEADERS
    assert dict(reply.headers)[b"content-security-policy"] == CONTENT_SECURITY_POLICY.encode()
    assert dict(reply.headers)[b"cache-control"] == b"no-store"
    assert reply.body.startswith(b"<!doctype html>")


def test_the_page_is_made_at_most_once_a_second_however_many_look() -> None:
    now, made = [10.0], []

    def report() -> dict[str, Any]:
        made.append(now[0])
        return {}

    served = console(report, dict, dict, dict, lambda: now[0])

    async def look() -> None:
        await asyncio.gather(*(served() for _ in range(20)))
        now[0] += 0.9
        await served()
        now[0] += 0.2
        await served()

    asyncio.run(look())
    assert made == [10.0, 11.1]
