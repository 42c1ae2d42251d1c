"""Explanations as one page that asks nothing of anybody: no script, nothing fetched, light and dark."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from service.domain.pictures.card import card
from service.domain.pictures.dumbbell import dumbbell
from service.domain.pictures.heatmap import heatmap
from service.domain.pictures.layout import INKS, Picture
from service.domain.pictures.stories import story
from service.domain.pictures.svg import STYLE, escaped, svg_inline
from service.domain.pictures.tables import moved_table, neighbours_table, values_table
from service.domain.pictures.waterfall import waterfall
from service.domain.pictures.wording import (
    Document,
    answer,
    certain_order,
    exactness,
    number,
    tag,
    unit,
    warnings,
)

SHOWN = 50
"""Explanations on one page; a page of thousands helps nobody, and says that it is cut."""

_LIGHT = ";".join(f"--{ink}:{light}" for ink, (light, _) in INKS.items())
_DARK = ";".join(f"--{ink}:{dark}" for ink, (_, dark) in INKS.items())
PAGE_STYLE = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
body{{margin:0 auto;max-width:768px;padding:16px;background:var(--paper);color:var(--text);
font:15px/1.5 system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;overflow-wrap:anywhere}}
h1{{font-size:22px;line-height:1.25;margin:8px 0}}
h2{{font-size:18px;margin:0 0 8px}}
section{{border-top:1px solid var(--grid);padding:20px 0}}
svg{{display:block;max-width:100%;height:auto}}
table{{border-collapse:collapse;width:100%;font-size:14px;margin:12px 0}}
caption{{text-align:left;font-weight:600;padding:4px 0}}
th,td{{text-align:left;padding:4px 8px;border-bottom:1px solid var(--grid);vertical-align:top}}
td.n,th.n{{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;overflow-wrap:normal}}
dl{{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;font-size:14px}}
.wide{{overflow-x:auto}}
dt,.quiet{{color:var(--muted)}}
dd{{margin:0}}
.warning{{border-left:4px solid;color:var(--warning);font-weight:600;padding:6px 12px;margin:12px 0}}
{STYLE}
"""


def _digest(style: str) -> str:
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; img-src data:; style-src 'sha256-{_digest(PAGE_STYLE)}' 'sha256-{_digest(STYLE)}';"
    " base-uri 'none'; form-action 'none'"
)
"""The header that pages and SVG pictures can be sent with: all they may use is their own style."""


def page_html(response: Mapping[str, Any], images: Sequence[Mapping[str, Any] | None] | None = None) -> bytes:
    """The page of a whole ``/explain`` response, UTF-8.

    Args:
        response: ``request_id``, ``model`` and ``explanations``.
        images: for image models each row's ``shape`` and ``pixels``, see ``heatmap``.
    """
    model, documents = response["model"], response["explanations"]
    parts = [f"<h1>Explained by {escaped(tag(model))}</h1>", _about(response, len(documents))]
    for index, document in enumerate(documents[:SHOWN]):
        image = images[index] if images is not None else None
        parts.append(_explanation(document, model, image, index))
    return _page(f"Explained by {tag(model)}", parts)


def compare_html(response: Mapping[str, Any]) -> bytes:
    """The page of a whole ``/explain/compare`` response, UTF-8."""
    sides = response["production"], response["candidate"]
    tags = tag(sides[0]["model"]), tag(sides[1]["model"])
    comparisons = response["comparisons"]
    title = f"Reasons of {tags[0]} and {tags[1]}"
    parts = [f"<h1>{escaped(title)}</h1>", _about(response, len(comparisons))]
    for index, comparison in enumerate(comparisons[:SHOWN]):
        documents = [side["explanations"][index] for side in sides]
        parts.append(f'<section aria-label="Instance {index + 1}"><h2>Instance {index + 1}</h2>')
        for name, document in zip(tags, documents, strict=True):
            parts += [_warning(f"{name}: {warning}") for warning in warnings(document)]
        far, shared = _measure(comparison["distance"]), _measure(comparison["top_overlap"])
        parts.append(_facts([("Distance of the reasons", far), ("Shared among the top features", shared)]))
        if comparison["moved"]:
            picture = dumbbell(comparison["moved"], tags)
            parts += [svg_inline(picture, f"m{index}-"), moved_table(comparison["moved"])]
        for side, role, document in zip(sides, "pc", documents, strict=True):
            parts.append(svg_inline(picture_of(document, side["model"]), f"{role}{index}-"))
        parts.append("</section>")
    return _page(title, parts)


def picture_of(
    document: Document, model: Mapping[str, Any], image: Mapping[str, Any] | None = None
) -> Picture:
    """The picture that fits: heat over the image, else the waterfall, else the story in words."""
    hot = heatmap(document, model, image) if image is not None else None
    if hot is not None:
        return hot
    return waterfall(document, model) if document["values"] else card(document, model)


def _page(title: str, parts: Iterable[str]) -> bytes:
    head = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escaped(title)}</title>\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<style>{PAGE_STYLE}</style></head>\n<body><main>\n"
    )
    return (head + "\n".join(parts) + "\n</main></body></html>\n").encode()


def _about(response: Mapping[str, Any], count: int) -> str:
    cut = f" The first {SHOWN} are shown here; the JSON answer holds all." if count > SHOWN else ""
    rows = "1 instance" if count == 1 else f"{count:,} instances"
    identity = escaped(str(response.get("request_id") or "none"))
    return f'<p class="quiet">Request {identity}, {rows}.{cut}</p>'


def _explanation(
    document: Document, model: Mapping[str, Any], image: Mapping[str, Any] | None, index: int
) -> str:
    said = answer(document)
    name = f"Instance {index + 1}" + (f": {said}" if said is not None else "")
    parts = [f'<section aria-label="Instance {index + 1}"><h2>{escaped(name)}</h2>']
    parts += [_warning(warning) for warning in warnings(document)]
    parts.append(svg_inline(picture_of(document, model, image), f"i{index}-"))
    if document["values"]:
        parts += [f"<p>{escaped(sentence)}</p>" for sentence in story(document)]
        parts.append(values_table(document))
    parts.append(_facts(_provenance(document)))
    if document.get("neighbours"):
        parts.append(neighbours_table(document))
    return "\n".join([*parts, "</section>"])


def _measure(value: float | None) -> str:
    """A distance or an overlap, 0 to 1; there is none where one of the models has no reasons at all."""
    return "none" if value is None or math.isnan(value) else number(value, 3)


def _warning(text: str) -> str:
    return f'<p class="warning" role="alert">{escaped(text)}</p>'


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(text)}</dd>" for name, text in facts)
    return f"<dl>{rows}</dl>"


def _provenance(document: Document) -> list[tuple[str, str]]:
    facts = [("Method", str(document["method"]))]
    if document["values"]:
        facts += [("Error", exactness(document)), ("Measured in", unit(document))]
    relative = document.get("background") or {}
    if relative.get("rows"):
        facts.append(
            ("Compared with", f"{relative['rows']:,} reference rows, {relative.get('digest') or 'no digest'}")
        )
    gap, order = document.get("additivity_gap"), certain_order(document)
    if gap is not None:
        facts.append(("Additivity gap", f"{number(float(f'{gap:.2g}'))} of the served score"))
    if order is not None:
        facts.append(("Order", order))
    if document.get("off_manifold_share") is not None:
        share = (
            f"{document['off_manifold_share']:.1%} of the rows made up for this look like no reference row"
        )
        facts.append(("Made-up rows", share))
    if document.get("rows_evaluated"):
        facts.append(("Rows evaluated", f"{document['rows_evaluated']:,}"))
    if document.get("certificate"):
        facts.append(("Certificate", str(document["certificate"])))
    return facts
