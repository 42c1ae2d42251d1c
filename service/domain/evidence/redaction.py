"""What may be kept of a row's inputs: each column as it is, as a keyed hash, or not at all.

A hash is the first 16 hexadecimal digits of HMAC-SHA256 under a secret key (RFC 2104) of the value's text: a
word as it is, a number as JSON writes it, a missing value as ``null``. Equal values have equal hashes, so
cases can still be grouped by them; without the key nobody can try out what a hash might stand for. What such
a column contributes to an answer is not kept either: of a linear model, it is the value on another scale.

Sums, labels and scores of rows are kept in any case, and the names of the slices that a row is in: let no
slice be cut by what nobody may see.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from service.domain.schema import FeatureBatch, Schema
from service.domain.words import row_in_words

Rule: TypeAlias = Literal["keep", "hash", "drop"]

STRICTNESS: tuple[Rule, ...] = ("keep", "hash", "drop")
DROPPED = "dropped"
"""Stands for a value of which nothing is kept."""
HASHED = "hash:"
"""What a hash begins with."""
DIGITS = 16
IMAGE = "image"
"""The only column of a model of images."""
MOST_PIXELS = 16_384
"""A larger image is never kept: as JSON it would take some 300 KB."""


def stricter(a: Rule, b: Rule) -> Rule:
    """Of two rules the one that keeps less."""
    return max(a, b, key=STRICTNESS.index)


@dataclass(frozen=True, slots=True)
class Redaction:
    """The rules for one model's columns. See ``redaction``."""

    schema: Schema
    rules: Mapping[str, Rule]
    """A column that is not named here is kept."""
    key: bytes = field(repr=False)

    def inputs(self, row: FeatureBatch) -> dict[str, Any]:
        """A canonical row [width] by column, as posted but for what must not be kept; ready for JSON."""
        if self.schema.layout == IMAGE:
            kept = self._rule(IMAGE)
            return {IMAGE: DROPPED if kept == "drop" else self._told(kept, row_in_words(self.schema, row))}
        words: Any = row_in_words(self.schema, row)
        return {name: self._told(self._rule(name), value) for name, value in words.items()}

    def reasons(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """An explanation, ready for JSON, without the contributions of columns whose values are not kept."""
        values = told["values"].items()
        if self.schema.layout == IMAGE:  # of regions, which no rule names; an image's size is no secret
            kept = {} if self.rules.get(IMAGE, "keep") != "keep" else dict(values)
        else:
            kept = {name: value for name, value in values if self._rule(name) == "keep"}
        return {**told, "values": kept}

    @property
    def redacted(self) -> tuple[str, ...]:
        """Columns whose values are not kept as they are, in schema order."""
        names = (IMAGE,) if self.schema.layout == IMAGE else self.schema.names()
        return tuple(name for name in names if self._rule(name) != "keep")

    def _rule(self, name: str) -> Rule:
        if name == IMAGE and self.schema.layout == IMAGE and self.schema.width > MOST_PIXELS:
            return "drop"
        return self.rules.get(name, "keep")

    def _told(self, rule: Rule, value: Any) -> Any:
        if rule == "keep":
            return value
        if rule == "drop":
            return DROPPED
        text = value if isinstance(value, str) else json.dumps(value)
        return HASHED + hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()[:DIGITS]


def redaction(schema: Schema, rules: Mapping[str, Rule], key: bytes = b"") -> Redaction:
    """Rules by column; those of an image model are for the one column ``image``.

    Raises:
        ValueError: a rule is for a column that the model does not have, or a hash has no key.
    """
    known = (IMAGE,) if schema.layout == IMAGE else schema.names()
    strange = [name for name in rules if name not in known]
    if strange:
        raise ValueError(f"{strange[0]!r} is none of the columns {', '.join(known)}")
    if not key and "hash" in rules.values():
        raise ValueError("hashed columns need a key")
    return Redaction(schema, dict(rules), key)
