"""Pictures as SVG: accessible, without scripts or anything fetched, light and dark.

Colours stand in the marks themselves, which every viewer understands; the stylesheet only replaces them where
the reader prefers dark.
"""

from __future__ import annotations

import base64
from html import escape
from typing import assert_never

from service.domain.pictures.layout import INKS, Ink, Line, Mark, Picture, Raster, Shape, Text
from service.domain.pictures.raster import png_bytes
from service.domain.pictures.wording import clean

FONTS = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif"

DARK_INKS = "".join(f".f-{ink}{{fill:{dark}}}.s-{ink}{{stroke:{dark}}}" for ink, (_, dark) in INKS.items())
STYLE = f"@media (prefers-color-scheme:dark){{{DARK_INKS}}}"
"""The stylesheet of every picture that stands alone."""


def svg_bytes(picture: Picture) -> bytes:
    """A picture that stands alone, UTF-8."""
    namespace = ' xmlns="http://www.w3.org/2000/svg"'
    return (_svg(picture, "", namespace, f"<style>{STYLE}</style>") + "\n").encode()


def svg_inline(picture: Picture, prefix: str) -> str:
    """A picture inside a page that holds ``STYLE``; ``prefix`` tells its ids from other pictures'."""
    return _svg(picture, prefix, "", "")


def escaped(text: str) -> str:
    """``text`` as content or as a quoted attribute of XML and HTML."""
    return escape(clean(text), quote=True)


def _svg(picture: Picture, prefix: str, namespace: str, style: str) -> str:
    width, height = _px(picture.width), _px(picture.height)
    title, description = f"{prefix}title", f"{prefix}desc"
    role = f'role="img" aria-labelledby="{title} {description}" font-family="{FONTS}"'
    parts = [
        f'<svg{namespace} width="{width}" height="{height}" viewBox="0 0 {width} {height}" {role}>',
        f'<title id="{title}">{escaped(picture.title)}</title>',
        f'<desc id="{description}">{escaped(picture.description)}</desc>',
        style,
        f'<rect width="{width}" height="{height}" {_fill("paper")}/>',
        *map(_mark, picture.marks),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part)


def _mark(mark: Mark) -> str:
    match mark:
        case Shape():
            points = " ".join(f"{_px(x)},{_px(y)}" for x, y in mark.points)
            tip = f"<title>{escaped(mark.tip)}</title>" if mark.tip else ""
            return f'<polygon points="{points}" {_fill(mark.ink)}>{tip}</polygon>'
        case Line():
            ends = f'x1="{_px(mark.x1)}" y1="{_px(mark.y1)}" x2="{_px(mark.x2)}" y2="{_px(mark.y2)}"'
            stroke = f'stroke="{INKS[mark.ink][0]}" stroke-width="{_px(mark.width)}" class="s-{mark.ink}"'
            dashes = ' stroke-dasharray="4 3"' if mark.dashed else ""
            return f"<line {ends} {stroke}{dashes}/>"
        case Text():
            place = f'x="{_px(mark.x)}" y="{_px(mark.y)}" font-size="{_px(mark.size)}"'
            anchor = "" if mark.anchor == "start" else f' text-anchor="{mark.anchor}"'
            weight = ' font-weight="600"' if mark.bold else ""
            return f"<text {place}{anchor}{weight} {_fill(mark.ink)}>{escaped(mark.text)}</text>"
        case Raster():
            place = f'x="{_px(mark.x)}" y="{_px(mark.y)}"'
            extent = f'width="{_px(mark.width)}" height="{_px(mark.height)}" preserveAspectRatio="none"'
            data = base64.b64encode(png_bytes(mark.pixels)).decode()
            source = f'image-rendering="pixelated" href="data:image/png;base64,{data}"'
            return f"<image {place} {extent} {source}/>"
        case _:
            assert_never(mark)


def _fill(ink: Ink) -> str:
    return f'fill="{INKS[ink][0]}" class="f-{ink}"'


def _px(length: float) -> str:
    return f"{length:.2f}".rstrip("0").rstrip(".")
