"""Explanations for the eye: pictures as SVG, pages as HTML; the documents of ``/explain`` in, bytes out.

All of it is pure: the same document gives the same bytes. ``service.adapters.png`` draws the same as PNG.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.domain.pictures.html import CONTENT_SECURITY_POLICY, compare_html, page_html, picture_of
from service.domain.pictures.layout import Picture
from service.domain.pictures.svg import svg_bytes
from service.domain.pictures.wording import Document

__all__ = [
    "CONTENT_SECURITY_POLICY",
    "Document",
    "Picture",
    "compare_html",
    "page_html",
    "picture_of",
    "picture_svg",
]


def picture_svg(
    document: Document, model: Mapping[str, Any], image: Mapping[str, Any] | None = None
) -> bytes:
    """The picture of one explanation as SVG, UTF-8; see ``picture_of``.

    Args:
        document: one entry of ``explanations``.
        model: at least ``name`` and ``version``.
        image: for image models the row's ``shape`` and ``pixels``; see ``heatmap``.
    """
    return svg_bytes(picture_of(document, model, image))
