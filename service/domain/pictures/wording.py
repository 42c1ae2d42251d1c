"""What pictures and pages say about an explanation, in sentences and numbers.

A *document* is one entry of ``explanations`` as ``POST /explain`` answers it. One more key is understood:
``prediction``, the entry of ``/predict`` for the same row, from which a picture knows what the model said.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from service.domain.pictures.layout import fitted, text_width

Document: TypeAlias = Mapping[str, Any]

MINUS = "\N{MINUS SIGN}"

QUANTILE = 1.96
"""Standard errors on either side that hold the truth 95 times in 100."""

WIDE_GAP = 1e-3
"""Additivity gap, in units of the served score, from which on a reader is warned."""

_UNPRINTABLE = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}


def clean(text: str) -> str:
    """``text`` with a replacement character for all that has no shape or turns the text around it.

    XML refuses control characters and lone surrogates; direction characters let one column's name rearrange
    what stands beside it.
    """
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\t\n\r":
        return " "
    code = ord(character)
    unassigned = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return (
        "\N{REPLACEMENT CHARACTER}"
        if unassigned or unicodedata.category(character) in _UNPRINTABLE
        else character
    )


@dataclass(frozen=True, slots=True)
class Numbers:
    """Writes numbers that stand below each other with the same number of decimals."""

    decimals: int | None
    """None writes powers of ten."""

    @classmethod
    def of(cls, largest: float) -> Numbers:
        """Three digits of ``largest``, the greatest magnitude among the numbers."""
        if largest == 0 or not 1e-6 <= largest < 1e9:
            return cls(0 if largest == 0 else None)
        return cls(max(0, 2 - math.floor(math.log10(largest))))

    def plain(self, number: float) -> str:
        if self.decimals is None or abs(number) >= 1e12:
            return _powers(f"{number:.3g}")
        text = f"{number:,.{self.decimals}f}"
        return text.lstrip("-") if not text.strip("-0.,") else _powers(text)

    def signed(self, number: float) -> str:
        """With its sign, even where nothing but the sign is left of it; 0 for zero itself."""
        if number == 0:
            return "0"
        return ("+" if number > 0 else MINUS) + self.plain(abs(number))


def number(value: float, digits: int = 6) -> str:
    """One number that stands alone, without separators: it may be a year."""
    if value == 0 or not 1e-4 <= abs(value) < 1e9:
        return _powers(f"{value:.{digits}g}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return _powers(text.rstrip("0").rstrip(".") if decimals else text)


def _powers(text: str) -> str:
    """``1e+07`` as 1e7, and a minus sign for the hyphen."""
    digits, mark, power = text.partition("e")
    return (digits + mark + str(int(power)) if mark else digits).replace("-", MINUS)


def told(value: Any, digits: int = 6) -> str:
    """A value of an input column as a caller would write it, numbers to so many ``digits``."""
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number(value, digits)
    return clean(str(value))


def sentence(text: Any) -> str:
    """A remark with a capital and a full stop."""
    said = clean(str(text)).strip()
    return said[:1].upper() + said[1:] + ("" if said.endswith(".") else ".")


def labelled(name: str, value: str | None, size: float, room: float) -> str:
    """``name = value``, cut so that both can be told within ``room`` px; None leaves the name alone."""
    name = clean(name)
    if value is None:
        return fitted(name, size, room)
    sign = " = "
    value = fitted(value, size, max(room / 2, room - text_width(name + sign, size)))
    return fitted(name, size, room - text_width(sign + value, size)) + sign + value


def tag(model: Mapping[str, Any]) -> str:
    """``name:version``."""
    return clean(f"{model['name']}:{model['version']}")


def adds_up(document: Document) -> bool:
    """Whether the values are parts of the output; where they are not, nothing can be added up."""
    return document.get("additivity_gap") is not None and bool(document.get("values"))


def reached(document: Document) -> float:
    """Where the values lead from the base value: the output, but for the additivity gap."""
    others = document.get("others") or {"value": 0.0}
    return float(document["base_value"]) + math.fsum([*document["values"].values(), others["value"]])


def answer(document: Document) -> str | None:
    """What the model says of the row, or None where the document does not tell."""
    prediction = document.get("prediction")
    if prediction is not None:
        told_label = prediction.get("label")
        return told(prediction["value"]) if told_label is None else clean(str(told_label))
    if document["output"] == "value" and adds_up(document):
        return number(float(f"{reached(document):.4g}"))
    return None


def headline(document: Document, model: Mapping[str, Any]) -> str:
    """The title of the picture."""
    said, label = answer(document), document.get("label")
    if said is not None:
        return f"Why {tag(model)} says {said}"
    if label is not None:
        return f"What {tag(model)} holds for and against {clean(label)}"
    return f"What moves {tag(model)}"


def unit(document: Document) -> str:
    """What base value and values are measured in."""
    label, output = document.get("label"), document["output"]
    of = f" of {clean(label)}" if label is not None else ""
    probabilities = (document.get("prediction") or {}).get("probabilities") or {}
    if output == "margin":
        return f"log-odds{of}" if len(probabilities) == 2 else f"margin{of} (log-odds scale)"
    return f"{clean(output)}{of}"


def exactness(document: Document) -> str:
    """How far the values can be trusted, in a few words."""
    if document["exact"]:
        return "exact"
    if document.get("standard_errors"):
        return f"± {QUANTILE} standard errors"
    return "approximate, its error is not known"


def certain_order(document: Document) -> str | None:
    """How much of the features' order is beyond doubt; None where there is no order."""
    certain = document.get("rank_certain_k")
    if certain is None:
        return None
    if certain == 0:
        return "the order of the features is not certain"
    return "the first feature is certain" if certain == 1 else f"the order of the first {certain} is certain"


def background(document: Document) -> str | None:
    """What the values are relative to."""
    rows = document.get("background")
    if not rows or not rows.get("rows"):
        return None
    return f"compared with {rows['rows']:,} reference rows, {_short(str(rows.get('digest') or ''))}".rstrip(
        ", "
    )


def _short(digest: str) -> str:
    return clean(digest if len(digest) <= 24 else digest[:19] + "…")


def warnings(document: Document) -> list[str]:
    """What a reader must know before believing the values."""
    found = [sentence(document["degraded"])] if document.get("degraded") else []
    detail: Mapping[str, Any] = document.get("detail") or {}
    found += [sentence(detail["warning"])] if detail.get("warning") else []
    gap = document.get("additivity_gap")
    if gap is not None and gap > WIDE_GAP:
        found.append(f"The values miss the served output by {number(float(f'{gap:.2g}'))}.")
    return found
