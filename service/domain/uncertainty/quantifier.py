"""All that one model's bundle can say about how sure an answer is, asked in one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from service.domain.schema import FeatureBatch, ModelSpec, Scores
from service.domain.uncertainty.adaptation import Adaptation
from service.domain.uncertainty.adapted import AdaptedRegion
from service.domain.uncertainty.entropy import entropy
from service.domain.uncertainty.measure import Asked, Columns, Kind, Quantity, Region, Run, Unfitting

EXTRA = ("p_values", "venn_abers", "entropy", "spread")
"""What is said only to whoever asks for it."""

MOST_PLANS = 256
"""Confidences come from callers, so what is prepared for them starts over at so many."""


class Doubt(NamedTuple):
    """What a caller wants to know about each answer; a tuple because one is made per request."""

    confidence: float | None = None
    """None is the manifest's."""
    region: str | None = None
    """Names of measures; None is the bundle's choice."""
    probability: str | None = None
    domain: str | None = None
    extra: frozenset[str] = frozenset()
    """Of ``EXTRA``."""


class Quantified(NamedTuple):
    """How sure the answers to some rows are."""

    columns: Columns
    confidence: float
    region: str | None
    """The measure that the set or interval is from; None where the model has none."""
    degraded: str | None
    """What falls short of what was asked for, in a sentence."""


class _Plan(NamedTuple):
    """What a doubt comes down to."""

    quantities: tuple[Quantity, ...]
    confidence: float
    region: str | None
    degraded: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Quantifier:
    """The measures of one bundle.

    Args:
        spec: the model.
        quantities: every fitted measure by kind and name.
        chosen: of each kind the measure that answers whoever names none.
        confidence: of whoever names none.
        run: runs the bundle's second graphs.
    """

    spec: ModelSpec
    quantities: Mapping[Kind, Mapping[str, Quantity]]
    chosen: Mapping[Kind, str | None]
    confidence: float
    run: Run
    _plans: dict[Doubt, _Plan] = field(default_factory=dict, init=False)

    def check(self, doubt: Doubt) -> None:
        """Raises ``Unfitting`` where a measure is asked for that this model does not have."""
        if not any(doubt):  # what everybody asks can always be said
            return
        wanted: dict[Kind, str | None] = {
            "region": doubt.region,
            "probability": doubt.probability,
            "domain": doubt.domain,
        }
        for kind, name in wanted.items():
            known = self.quantities[kind]
            if name is not None and name not in known:
                raise Unfitting(f"{kind}: {self.spec.tag} has {', '.join(known) or 'none'}, not {name!r}")
        if "spread" in doubt.extra and not self.quantities["spread"]:
            raise Unfitting(f"include: {self.spec.tag} has no members whose spread could be told")
        for name in ("p_values", "entropy", "venn_abers"):
            if name in doubt.extra and not self.spec.classes:
                raise Unfitting(f"include: {name} is about classes, and {self.spec.tag} is a regression")
        if "venn_abers" in doubt.extra and "venn-abers" not in self.quantities["probability"]:
            raise Unfitting(f"include: {self.spec.tag} has no venn-abers")

    def quantify(self, rows: FeatureBatch, scores: Scores, doubt: Doubt) -> Quantified:
        """What the measures say of some rows.

        Args:
            rows: canonical, [rows, width].
            scores: what the model answered, [rows, outputs].
            doubt: what is wanted; ``check`` accepted it.
        """
        plan = self._plans.get(doubt)
        if plan is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            plan = self._plans[doubt] = self._plan(doubt)
        asked = Asked(rows, scores, plan.confidence, doubt.extra, self.run)
        columns: Columns = {}
        for quantity in plan.quantities:
            columns.update(quantity.columns(asked))
        if doubt.extra:
            self._add_extra(asked, columns)
        return Quantified(columns, plan.confidence, plan.region, plan.degraded)

    def region(self, name: str | None = None) -> Region | None:
        """The conformal measure of a name, or the chosen one."""
        found: Any = self._quantity("region", name)
        return found  # type: ignore[no-any-return]  # every measure of this kind is a Region

    def adapted(self, adaptation: Adaptation) -> Quantifier:
        """The same with the chosen conformal measure as labels have taught it; unchanged without one."""
        name, region = self.chosen["region"], self.region()
        if name is None or region is None:
            return self
        regions = {**self.quantities["region"], name: AdaptedRegion(region, adaptation)}
        return replace(self, quantities={**self.quantities, "region": regions})

    def _quantity(self, kind: Any, name: str | None) -> Quantity | None:
        wanted = name or self.chosen[kind]
        known: Mapping[str, Quantity] = self.quantities[kind]
        return None if wanted is None else known[wanted]

    def _plan(self, doubt: Doubt) -> _Plan:
        confidence = self.confidence if doubt.confidence is None else doubt.confidence
        wanted: tuple[tuple[Kind, str | None], ...] = (
            ("region", doubt.region),
            ("probability", doubt.probability),
            ("domain", doubt.domain),
        )
        found = [self._quantity(kind, name) for kind, name in wanted]
        region = self.region(doubt.region)
        degraded = None
        if region is not None and np.isinf(region.thresholds(confidence)).any():
            rows = f"{len(region.scores)} calibration rows are too few to rule out every wrong answer"
            degraded = f"{rows} at {confidence:g}"
        return _Plan(
            tuple(quantity for quantity in found if quantity is not None),
            confidence,
            None if region is None else doubt.region or self.chosen["region"],
            degraded,
        )

    def _add_extra(self, asked: Asked, columns: Columns) -> None:
        if "entropy" in asked.extra:
            columns["entropy"] = entropy(asked.scores)
        if "venn_abers" in asked.extra and "venn_abers" not in columns:
            found = self.quantities["probability"]["venn-abers"].columns(asked)
            columns["venn_abers"] = found["venn_abers"]
        if "spread" in asked.extra:
            for quantity in self.quantities["spread"].values():
                columns.update(quantity.columns(asked))
