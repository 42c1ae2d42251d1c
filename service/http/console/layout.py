"""Puts the page together: templates lay out blocks, and what there is no room for is named.

The page is at most ``MOST_BYTES`` long whatever it is made of: every candidate has the same share of it, and
of one that has more to show the ``EXPENDABLE`` parts are left out in turn. So is the drift of models, that of
the last one first.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from service.domain.pictures.layout import INKS, Picture
from service.domain.pictures.svg import STYLE, svg_inline
from service.domain.pictures.wording import clean
from service.http.console.blocks import Shown, Traffic

MOST_BYTES = 1_000_000
KEPT_FREE = 100_000
"""Bytes of ``MOST_BYTES`` for what surrounds all parts."""
MOST_OF_DRIFT = 250_000
"""Bytes for the drift of all models; what it leaves is the candidates'."""
EXPENDABLE = (
    "Inputs and scores",
    "Worst cases",
    "Reasons",
    "Over time",
    "How far the answers differ",
    "Slices",
    "Behaviour",
    "Who was right",
    "Criteria",
)
"""Titles of parts, those that are missed least first."""

_TEMPLATES = Path(__file__).with_name("templates")
_LIGHT = "".join(f"--{ink}:{light};" for ink, (light, _) in INKS.items())
_DARK = "".join(f"--{ink}:{dark};" for ink, (_, dark) in INKS.items())
PAGE_STYLE = (
    f":root{{color-scheme:light dark;{_LIGHT}}}\n"
    f"@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}\n"
    + (_TEMPLATES / "console.css").read_text(encoding="utf-8")
    + STYLE
)
_DIGEST = base64.b64encode(hashlib.sha256(PAGE_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; img-src data:; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
"""All that the page may use is its own style, and pixels that it brings itself."""


Titled: TypeAlias = tuple[tuple[str, Markup], ...]
"""Parts as HTML, with their titles."""


@dataclass(frozen=True, slots=True)
class Laid:
    """A candidate, or the traffic, with its parts as HTML."""

    shown: Shown | Traffic
    parts: Titled
    left_out: tuple[str, ...]
    """Titles of the parts that there was no room for."""

    @property
    def size(self) -> int:
        """Bytes of the parts."""
        return sum(len(html.encode()) for _, html in self.parts)


def laid_out(page: Mapping[str, Any], shown: Sequence[Shown], traffic: Traffic) -> bytes:
    """The page as HTML, UTF-8.

    Args:
        page: what the template says beside the rest.
        shown: the candidates, in order.
        traffic: what is said of drift.
    """
    draw = _drawer()
    last_first = [part.title for part in reversed(traffic.parts)]
    drift = _fitted(traffic, draw, MOST_OF_DRIFT, last_first)
    room = (MOST_BYTES - KEPT_FREE - drift.size) // max(len(shown), 1)
    candidates = [_fitted(candidate, draw, room, EXPENDABLE) for candidate in shown]
    style = Markup(PAGE_STYLE)  # noqa: S704 - written here, and nothing of a request is in it
    html = _ENVIRONMENT.get_template("page.html").render(
        **page, style=style, draw=draw, candidates=candidates, drift=drift
    )
    return html.encode()


def _fitted(
    shown: Shown | Traffic, draw: Callable[[Picture], Markup], room: int, expendable: Sequence[str]
) -> Laid:
    """With as many parts as ``room`` bytes hold; those of ``expendable`` are left out in turn."""
    blocks: Any = _ENVIRONMENT.get_template("blocks.html").module
    parts = {part.title: blocks.all(part.blocks, draw) for part in shown.parts}
    lengths = {title: len(html.encode()) for title, html in parts.items()}
    left_out = []
    for title in expendable:
        if sum(lengths.values()) <= room:
            break
        if lengths.pop(title, None) is not None:
            left_out.append(title)
    return Laid(shown, tuple((title, parts[title]) for title in lengths), tuple(left_out))


def _drawer() -> Callable[[Picture], Markup]:
    """Draws pictures, each with ids of its own."""
    numbers = itertools.count(1)

    def draw(picture: Picture) -> Markup:
        return Markup(svg_inline(picture, f"c{next(numbers)}-"))  # noqa: S704 - svg_inline escapes all words

    return draw


def _finished(value: object) -> object:
    """Every word that a template writes, without characters that could turn the others around."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=_finished,
)
