"""A picture of words, for explanations that divide nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.domain.pictures.frame import HEAD, ROOM, document_foot, head
from service.domain.pictures.layout import MARGIN, Mark, Picture, Text, wrapped
from service.domain.pictures.stories import story
from service.domain.pictures.wording import Document, clean, headline

SIZE = 15.0


def card(document: Document, model: Mapping[str, Any]) -> Picture:
    """The story of an explanation under its title."""
    said = story(document) or ["This method names no feature that could be drawn."]
    marks: list[Mark] = head(headline(document, model), clean(document["method"]))
    top = HEAD
    for sentence in said:
        for line in wrapped(sentence, SIZE, ROOM, 12):
            top += 24
            marks.append(Text(MARGIN, top - 4, line, size=SIZE))
        top += 6
    foot, height = document_foot(document, top)
    return Picture(height, headline(document, model), " ".join(said), tuple(marks + foot))
