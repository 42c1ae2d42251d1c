"""An explanation as callers get it: in the words of the columns they sent, ready for JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from service.domain.explainers.certainty import rank_certain_k
from service.domain.explainers.game import Ask, Explanation, Players
from service.domain.schema import FeatureBatch, ModelSpec, as_posted
from service.domain.words import shortest

WIDEST_GAP = 1e-3
"""A larger additivity gap, in units of the served score or as a share of large values, is told as a fault."""

Form: TypeAlias = Literal["json", "svg", "png", "html"]
"""How an explanation is written."""


class Wish(NamedTuple):
    """What a caller wants to be told about each row; a tuple because one is made per request."""

    ask: Ask = Ask()
    top: int | None = None
    """Name only so many features, the most influential; the others are summed up."""
    neighbours: int = 0
    """How many similar reference rows to show."""
    deadline: float | None = None
    """Seconds the caller is ready to wait; None is the configured time."""
    form: Form = "json"
    against: str | None = None
    """Tag of the candidate whose reasons are to be compared with production's, or None."""


@dataclass(frozen=True, slots=True, eq=False)
class Narrator:
    """Puts explanations of one model into words."""

    spec: ModelSpec
    players: Players
    background_rows: int
    background_digest: str
    certificate: str | None
    """Digest of the integrity certificate in the bundle, or None without one."""
    neighbours: Callable[[FeatureBatch, int], list[dict[str, Any]]] | None = None
    """The k reference rows most similar to one row [width]."""
    numbers: Callable[[FeatureBatch], list[float]] = shortest
    """A row's values as callers read them."""

    def tell(
        self, row: FeatureBatch, explanation: Explanation, wish: Wish, elapsed_ms: float
    ) -> dict[str, Any]:
        """One explanation.

        Args:
            row: the canonical row, [width].
            explanation: what a method found.
            wish: what the caller wants to see of it.
            elapsed_ms: milliseconds that it took.
        """
        values, errors = explanation.values.tolist(), explanation.standard_errors
        shown = self._shown(explanation, wish)
        names = self.players.names
        document: dict[str, Any] = {
            "method": explanation.method,
            "exact": explanation.exact,
            "output": explanation.output,
            "label": None if explanation.label is None else self.spec.classes[explanation.label],
            "base_value": explanation.base_value,
            "values": {names[player]: values[player] for player in shown},
            "data": self._data(row, shown),
            "standard_errors": None
            if errors is None
            else {names[player]: float(errors[player]) for player in shown},
            "additivity_gap": explanation.additivity_gap,
            "rows_evaluated": explanation.rows_evaluated,
            "background": {"rows": self.background_rows, "digest": self.background_digest},
            "off_manifold_share": explanation.off_manifold_share,
            "rank_certain_k": self._certain(explanation),
            "certificate": self.certificate,
            "elapsed_ms": round(elapsed_ms, 3),
            "degraded": _degraded(explanation, sum(values)),
        }
        if len(shown) < len(values):
            named = set(shown)
            rest = [value for player, value in enumerate(values) if player not in named]
            document["others"] = {"features": len(rest), "value": sum(rest)}
        if explanation.detail:
            document["detail"] = dict(explanation.detail)
        if wish.neighbours and self.neighbours is not None:
            document["neighbours"] = self.neighbours(row, wish.neighbours)
        return document

    def _certain(self, explanation: Explanation) -> int | None:
        """How many of the most influential features are in certain order; None where there is no order."""
        errors = explanation.standard_errors
        if not len(explanation.values) or (errors is None and not explanation.exact):
            return None
        if errors is None:
            return len(explanation.values)
        return rank_certain_k(explanation.values, errors)

    def _shown(self, explanation: Explanation, wish: Wish) -> list[int]:
        """Players to name: all in schema order, or the ``top`` by influence, greatest first."""
        if wish.top is None or wish.top >= len(explanation.values):
            return list(range(len(explanation.values)))
        order = np.argsort(-np.abs(explanation.values), kind="stable")
        return [int(player) for player in order[: wish.top]]

    def _data(self, row: FeatureBatch, shown: list[int]) -> dict[str, Any]:
        """What the caller sent for the players shown; a patch of pixels is told by its mean."""
        if self.spec.schema.layout == "image":
            return {self.players.names[p]: float(row[self.players.columns[p]].mean()) for p in shown}
        features, numbers = self.spec.schema.features, self.numbers(row)
        if not shown:  # a method that divides nothing is about the row as a whole
            return {f.name: as_posted(f, value) for f, value in zip(features, numbers, strict=True)}
        return {features[p].name: as_posted(features[p], numbers[p]) for p in shown}


def _degraded(explanation: Explanation, total: float) -> str | None:
    """What the method says falls short, and whether its values fail to add up to what was served."""
    gap = explanation.additivity_gap
    if gap is None or gap <= WIDEST_GAP * max(1.0, abs(explanation.base_value + total)):
        return explanation.degraded
    missed = f"the contributions miss the served score by {gap:.2g}"
    return f"{explanation.degraded}; {missed}" if explanation.degraded else missed
