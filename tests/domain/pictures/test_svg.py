"""SVG that any viewer can trust."""

from __future__ import annotations

import base64
import hashlib
import re
from xml.etree import ElementTree as Xml

import pytest

from service.domain.pictures import CONTENT_SECURITY_POLICY, picture_of, picture_svg
from service.domain.pictures.layout import INKS
from service.domain.pictures.svg import svg_inline
from tests.domain.pictures.documents import EVERY, HOSTILE, MODEL, document

SVG = "{http://www.w3.org/2000/svg}"
ALLOWED = {"svg", "title", "desc", "style", "rect", "polygon", "line", "text", "image"}


def parsed(name: str) -> Xml.Element:
    return Xml.fromstring(picture_svg(EVERY[name], MODEL).decode())


@pytest.mark.parametrize("name", EVERY)
def test_every_picture_is_well_formed_and_holds_marks_only(name: str) -> None:
    root = parsed(name)
    assert {element.tag for element in root.iter()} <= {SVG + tag for tag in ALLOWED}
    assert not any(key.startswith("on") for element in root.iter() for key in element.attrib)


@pytest.mark.parametrize("name", EVERY)
def test_every_picture_has_a_title_and_a_description_for_those_who_do_not_see_it(name: str) -> None:
    root = parsed(name)
    assert root.attrib["role"] == "img"
    spoken = [
        element.text for id in root.attrib["aria-labelledby"].split() for element in root.iter()
        if element.attrib.get("id") == id
    ]  # fmt: skip
    assert len(spoken) == 2
    assert all(spoken)


@pytest.mark.parametrize("name", EVERY)
def test_no_picture_fetches_anything(name: str) -> None:
    found = picture_svg(EVERY[name], MODEL).decode().replace('xmlns="http://www.w3.org/2000/svg"', "", 1)
    assert not re.search(r"https?:|url\(|@import|xlink|javascript:", found)


def test_hostile_names_are_text_and_nothing_else() -> None:
    root = parsed("hostile")
    assert root.find(f".//{SVG}script") is None
    shown = "".join(element.text or "" for element in root.iter(f"{SVG}text"))
    assert "</text><script>" in shown
    assert "\u202e" not in shown
    assert HOSTILE[:8] not in picture_svg(EVERY["hostile"], MODEL).decode().replace("</text>\n", "")


def test_colours_stand_in_the_marks_and_dark_readers_get_dark_ones() -> None:
    root = parsed("exact")
    style = root.findtext(f"{SVG}style") or ""
    assert style.startswith("@media (prefers-color-scheme:dark)")
    inks = {light: ink for ink, (light, _) in INKS.items()}
    for element in root.iter():
        for attribute, prefix in (("fill", "f"), ("stroke", "s")):
            if attribute in element.attrib:
                ink = inks[element.attrib[attribute]]
                assert element.attrib["class"] == f"{prefix}-{ink}"
                assert f".{prefix}-{ink}{{{attribute}:{INKS[ink][1]}}}" in style


def test_the_policy_allows_the_picture_its_own_style_and_nothing_else() -> None:
    style = parsed("exact").findtext(f"{SVG}style") or ""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'")
    assert "unsafe" not in CONTENT_SECURITY_POLICY


def test_pictures_in_one_page_share_no_ids_and_bring_no_style() -> None:
    picture = picture_of(document(), MODEL)
    first, second = svg_inline(picture, "a-"), svg_inline(picture, "b-")
    ids = [set(re.findall(r' id="([^"]+)"', found)) for found in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert "<style" not in first


def test_the_same_document_gives_the_same_bytes() -> None:
    assert picture_svg(EVERY["sampled"], MODEL) == picture_svg(dict(EVERY["sampled"]), dict(MODEL))
