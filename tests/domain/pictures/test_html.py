"""Pages that stand on their own."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from service.domain.pictures import CONTENT_SECURITY_POLICY, compare_html, page_html
from service.domain.pictures.html import SHOWN
from tests.domain.pictures.documents import (
    ANCHOR,
    COUNTERFACTUAL,
    DATA,
    EVERY,
    HOSTILE,
    MODEL,
    SAMPLED,
    document,
    many,
    typed,
)

NEIGHBOURS = [
    {"distance": 0.125, "data": {**DATA, "Home": "owner"}, "label": "bad"},
    {"distance": 1.5, "data": {**DATA, "Age": 31}, "label": "good"},
]
VOID = {"meta", "polygon", "line", "rect", "image"}


class Reader(HTMLParser):
    """Reads a page as a browser does: elements, the rows of its tables, and all its words."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.rows: list[list[str]] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(typed(page.decode()))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID or tag == "polygon":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        if "style" not in self.open:
            self.words += data


def page(*documents: dict[str, Any], request_id: str = "r-1") -> bytes:
    return page_html({"request_id": request_id, "model": MODEL, "explanations": list(documents)})


def compared(production: dict[str, Any], candidate: dict[str, Any], moved: list[dict[str, Any]]) -> bytes:
    return compare_html(
        {
            "request_id": "r-1",
            "production": {"model": MODEL, "explanations": [production]},
            "candidate": {"model": {"name": "credit", "version": "gbm-2"}, "explanations": [candidate]},
            "comparisons": [{"distance": 0.2134, "top_overlap": 0.6, "moved": moved}],
        }
    )


MOVED = [{"feature": "Income", "production": 0.625, "candidate": -0.125}]
PAGES = {
    "every kind": page(*EVERY.values()),
    "hostile": page(EVERY["hostile"], request_id=HOSTILE),
    "none": page(),
    "comparison": compared(document(), SAMPLED, MOVED),
    "hostile comparison": compared(EVERY["hostile"], EVERY["hostile"], [{**MOVED[0], "feature": HOSTILE}]),
    "comparison without a difference": compared(document(), document(), []),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_nothing_of_anybody(name: str) -> None:
    found = Reader(PAGES[name])
    assert found.open == []
    assert not {"script", "link", "iframe", "object", "form", "base", "img"} & set(found.tags)
    assert not any(key.startswith("on") or key in ("src", "style", "srcset") for key, _ in found.attributes)
    assert not re.search(
        rb"https?:|//|url\(|@import|javascript:", PAGES[name].replace(b"data:image/png", b"")
    )


@pytest.mark.parametrize("name", PAGES)
def test_the_policy_allows_a_page_its_own_style(name: str) -> None:
    styles = re.findall(r"<style>(.*?)</style>", PAGES[name].decode(), re.DOTALL)
    assert len(styles) == 1
    digest = base64.b64encode(hashlib.sha256(styles[0].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    assert "@media (prefers-color-scheme:dark){:root{" in styles[0]
    assert ".f-raise{fill:" in styles[0]


@pytest.mark.parametrize("name", PAGES)
def test_no_two_elements_of_a_page_share_an_id(name: str) -> None:
    ids = [value for key, value in Reader(PAGES[name]).attributes if key == "id"]
    assert len(ids) == len(set(ids))


def test_hostile_words_are_shown_as_words() -> None:
    for name in ("hostile", "hostile comparison"):
        assert "</text><script>alert(1)</script>" in Reader(PAGES[name]).words
        assert "\u202e" not in PAGES[name].decode()
        assert "\x00" not in PAGES[name].decode()


def test_the_table_tells_every_feature_with_value_contribution_and_error() -> None:
    rows = Reader(page(SAMPLED)).rows
    assert rows == [
        ["Feature", "Value", "Contribution", "± 1.96 se"],
        ["average", "", "0.50", ""],
        ["Records", "yes", "-1.12", "0.39"],
        ["Income", "129", "+0.62", "0.20"],
        ["Home", "rent", "-0.25", "0.10"],
        ["Age", "30", "+0.02", "0.02"],
        ["Debt", "missing", "0", "0.00"],
        ["output", "", "-0.23", ""],
    ]


def test_the_table_names_features_that_the_picture_sums_up() -> None:
    names = [row[0] for row in Reader(page(document(many(30)))).rows]
    assert names == ["Feature", "average", *(f"f{index}" for index in range(30)), "output"]


def test_a_page_says_how_it_came_about() -> None:
    words = Reader(page(SAMPLED)).words
    for part in (
        "Request r-1, 1 instance.",
        "permutation",
        "± 1.96 standard errors",
        "1,000 reference rows, sha256:" + "0123456789abcdef" * 4,
        "3e-7 of the served score",
        "the order of the first 2 is certain",
        "31.0% of the rows made up for this look like no reference row",
    ):
        assert part in words


def test_a_warning_comes_before_the_picture_that_it_is_about() -> None:
    found = page(SAMPLED).decode()
    warning = '<p class="warning" role="alert">Stopped after 1,204 of 4,000 rows.</p>'
    assert found.index(warning) < found.index("<svg")
    assert 'class="warning"' not in page(document()).decode()


def test_what_is_told_rather_than_drawn_is_told() -> None:
    words = " ".join(Reader(page(COUNTERFACTUAL, ANCHOR)).words.split())
    assert "With Income 87.5 instead of 129 and Home missing instead of rent" in words
    assert "Wherever Home = rent and Income <= 90, the answer stays the same in 97.3 % of cases" in words


def test_neighbours_stand_beside_the_row_itself() -> None:
    rows = Reader(page(document(neighbours=NEIGHBOURS))).rows
    table = rows[rows.index(["", "this row", "no. 1", "no. 2"]) :]
    assert ["Outcome", "", "bad", "good"] in table
    assert ["Distance", "", "0.125", "1.5"] in table
    assert ["Home", "rent", "owner", "rent"] in table
    assert ["Age", "30", "30", "31"] in table


def test_neighbours_of_an_image_are_told_without_their_pixels() -> None:
    near = [{"distance": 2.0, "data": [[0.0, 1.0], [2.0, 3.0]], "label": "7"}]
    rows = Reader(page(document(neighbours=near))).rows
    assert rows[-2:] == [["Outcome", "", "7"], ["Distance", "", "2"]]


def test_every_instance_has_its_own_section_and_answer() -> None:
    words = Reader(page(document(prediction={"label": "good"}), document(prediction={"label": "bad"}))).words
    assert words.index("Instance 1: good") < words.index("Instance 2: bad")
    assert "2 instances" in words


def test_images_are_shown_with_the_explanations_that_they_belong_to() -> None:
    image = {"shape": [2, 2], "pixels": [0.0, 1.0, 2.0, 3.0]}
    heat = document({"rows 0-1, columns 0-1": 1.0})
    response = {"request_id": "r", "model": MODEL, "explanations": [heat, document()]}
    found = page_html(response, [image, None]).decode()
    assert found.count("<image ") == 3


def test_a_page_that_is_cut_says_so() -> None:
    found = Reader(page(*[document()] * (SHOWN + 1)))
    assert (
        f"{SHOWN + 1} instances. The first {SHOWN} are shown here; the JSON answer holds all." in found.words
    )
    assert found.tags.count("section") == SHOWN
    assert "JSON" not in Reader(page(*[document()] * SHOWN)).words


def test_a_comparison_tells_what_moved_and_by_how_much() -> None:
    found = Reader(PAGES["comparison"])
    assert found.rows[:2] == [
        ["Feature", "Production", "Candidate", "Change"],
        ["Income", "+0.625", "-0.125", "-0.750"],
    ]
    for part in ("0.213", "0.6", "+0.625 → -0.125", "credit:gbm-2: Stopped after 1,204 of 4,000 rows."):
        assert part in found.words
    assert found.tags.count("svg") == 3
    assert Reader(PAGES["comparison without a difference"]).tags.count("svg") == 2


@pytest.mark.parametrize("unknown", [None, float("nan")])
def test_a_comparison_without_reasons_claims_no_distance(unknown: float | None) -> None:
    response = {
        "request_id": "r-1",
        "production": {"model": MODEL, "explanations": [document()]},
        "candidate": {"model": MODEL, "explanations": [document()]},
        "comparisons": [{"distance": unknown, "top_overlap": unknown, "moved": []}],
    }
    words = Reader(compare_html(response)).words
    assert "Distance of the reasonsnone" in words
    assert "nan" not in words


def test_the_same_response_gives_the_same_page() -> None:
    assert page(*EVERY.values()) == PAGES["every kind"]
