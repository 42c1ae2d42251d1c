"""What callers are told about rows that are unlike training's, whatever the protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import orjson

from service.domain.expectations import PIXEL, Expectations
from service.domain.schema import FeatureBatch, Schema
from service.domain.watch import Watch
from service.http.problem import does_not_fit

Loc: TypeAlias = tuple[str | int, ...]
Place: TypeAlias = Callable[[int | None, int], Loc]
"""(row, column) of the canonical matrix to its place in the request; no row where a column is meant."""


class Violated(Protocol):
    """Counts values that do not fit a feature, or are unlike what training saw of it."""

    def __call__(self, feature: str, kind: str, count: int = 1) -> None:
        """Told the feature's name, the kind (missing, range, category or type) and how many there are."""


class Judge:
    """Warns of strange rows, or refuses them.

    Args:
        schema: of the rows.
        expectations: what they are held against.
        violated: counts what breaks them.
    """

    def __init__(self, schema: Schema, expectations: Expectations, violated: Violated) -> None:
        self.watch = Watch(schema, expectations)
        self._names = schema.names() or (PIXEL,)
        self._violated = violated

    def warnings(self, rows: FeatureBatch, place: Place) -> bytes:
        """The warnings about canonical rows that fit the schema, as JSON objects with commas between them.

        Raises:
            Problem: 422, the manifest has such rows refused.
        """
        found = self.watch.look(rows)
        if found is None:
            return b""
        for (column, kind), count in found.counts.items():
            self._violated(self._names[column], kind, count)
        if found.refused:
            raise does_not_fit(
                [{"loc": list(place(b.row, b.column)), "msg": b.message} for b in found.refused]
            )
        listed = [{"loc": place(b.row, b.column), "kind": b.kind, "msg": b.message} for b in found.warned]
        return orjson.dumps(listed)[1:-1]


def with_warnings(body: bytes, warnings: bytes) -> bytes:
    """A JSON object with what is to be said about its rows."""
    return b'%b,"warnings":[%b]}' % (body[:-1], warnings)
