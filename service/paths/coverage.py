"""The journey of a label back to the region that was answered: was it in there, and what follows from that.

When an answer is recorded, what is needed to judge any label later is kept with it, and the thresholds in
force. When its label comes, the row counts as covered or not; where regions are to follow the labels, the
model's state learns from it, and the edges are told. All of it runs beside the edge, in one thread.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.coverage import Counts, count, judge, keepsake, parted, together
from service.domain.labels import Joined, Labelled
from service.domain.observation import ShadowBatch
from service.domain.projection import Projection
from service.domain.uncertainty.adaptation import Adaptation
from service.domain.uncertainty.adapted import AdaptedRegion
from service.domain.uncertainty.adaptive import AdaptiveState, Pace, adaptation, start, state_of, update
from service.domain.uncertainty.measure import Asked, Region, Run

log = logging.getLogger("understudy.coverage")


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """A model whose answers carry regions."""

    tag: str
    key: str
    """Under which its state is kept: another bundle or another measure starts anew."""
    region: Region
    """As fitted at packaging."""
    confidence: float
    """The manifest's, at which coverage is counted."""
    outputs: int
    """Columns of its scores."""
    project: Projection
    """From production's rows to its own."""
    run: Run
    width: int
    """Numbers of evidence for each row."""


@dataclass(slots=True)
class Coverage:
    """Counts how often answers held what turned out true, and lets regions follow.

    Args:
        watched: production under 0, then each candidate under its number; those without regions are left out.
        adapt: whether regions follow the labels.
        counted: told the counts of what was just joined.
        publish: told how each model's regions are adapted, by tag, whenever that changes.
    """

    watched: Mapping[int, Watched]
    adapt: bool
    counted: Callable[[Counts], None]
    publish: Callable[[dict[str, Any]], None]
    pace: Pace = field(default_factory=Pace)
    _regions: dict[str, Region] = field(default_factory=dict)
    """In force, by tag."""
    _learnt: dict[str, Adaptation] = field(default_factory=dict)
    """What the last step learnt and nobody was told yet, by tag."""

    def __post_init__(self) -> None:
        self._regions = {each.tag: each.region for each in self.watched.values()}

    def restore(self, learnt: Mapping[str, bytes]) -> None:
        """Goes on where an earlier process stopped."""
        if not self.adapt:
            return
        for each in self.watched.values():
            if each.key in learnt:
                state = self._state(each, learnt)
                self._learnt[each.tag] = adaptation(state, self.pace, each.region, each.confidence)
        self._tell()

    def judge(self, batch: ShadowBatch) -> NDArray[np.float64] | None:
        """What is kept with answers until their labels come, [rows, k].

        Models differ in how much they need; who needs less leaves the first columns empty. None where
        nobody's answers carry regions.
        """
        if not self.watched:
            return None
        width = max(each.width + each.outputs for each in self.watched.values())
        kept = np.full((len(batch), width), np.nan)
        for number, each in self.watched.items():
            mine = batch.answerers == number
            if mine.any():
                region = self._regions[each.tag]
                rows = each.project(batch.rows[mine])
                evidence = region.evidence(Asked(rows, batch.scores[mine], each.confidence, run=each.run))
                kept[mine, width - each.width - each.outputs :] = keepsake(
                    evidence, region.thresholds(each.confidence)
                )
        return kept

    def learn(self, batches: Sequence[Labelled], learnt: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """The states after some labels; see ``service.domain.labels.Learn``."""
        self._learnt = {}
        if not self.adapt:
            return {}
        states: dict[str, AdaptiveState] = {}
        for batch in batches:
            each = self._of(batch)
            if each is None:
                continue
            evidence, in_force = self._parted(each, batch)
            state = states.get(each.key) or self._state(each, learnt)
            states[each.key], _ = update(
                state,
                self.pace,
                each.region,
                evidence,
                batch.labels,
                in_force,
                batch.answered_at,
                batch.labelled_at,
                each.confidence,
            )
            now = adaptation(states[each.key], self.pace, each.region, each.confidence)
            self._learnt[each.tag] = now
        return {key: json.dumps(state.to_document()).encode() for key, state in states.items()}

    def joined(self, found: Joined) -> None:
        """Counts what was joined for good, and tells the edges what was learnt from it."""
        self.counted(together(self._counts(batch) for batch in found.batches))
        self._tell()

    def _counts(self, batch: Labelled) -> Counts:
        each = self._of(batch)
        if each is None:
            return {}
        evidence, in_force = self._parted(each, batch)
        judged = judge(each.region, evidence, batch.labels, in_force)
        return count(each.tag, batch.answerer.arm, batch.members(), judged.covered)

    def _of(self, batch: Labelled) -> Watched | None:
        """The model that answered, where its answers were kept with what judging them needs."""
        number = next((n for n, each in self.watched.items() if each.tag == batch.answerer.tag), None)
        if number is None or batch.evidence is None:
            return None
        each = self.watched[number]
        needed = each.width + each.outputs
        if batch.evidence.shape[1] < needed or np.isnan(batch.evidence[:, -each.outputs :]).any():
            return None  # kept by an earlier version of the bundle, or by none
        return each

    def _parted(self, each: Watched, batch: Labelled) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        assert batch.evidence is not None
        return parted(batch.evidence[:, -(each.width + each.outputs) :], each.outputs)

    def _state(self, each: Watched, learnt: Mapping[str, bytes]) -> AdaptiveState:
        kept = learnt.get(each.key)
        if kept is None:
            return start(self.pace)
        try:
            return state_of(json.loads(kept), self.pace)
        except ValueError as error:
            log.error("%s: what was learnt from labels is lost: %s", each.tag, error)
            return start(self.pace)

    def _tell(self) -> None:
        if not self._learnt:
            return
        for each in self.watched.values():
            if each.tag in self._learnt:
                self._regions[each.tag] = AdaptedRegion(each.region, self._learnt[each.tag])
        documents = {
            tag: region.adaptation.to_document()
            for tag, region in self._regions.items()
            if isinstance(region, AdaptedRegion)
        }
        self._learnt = {}
        self.publish(documents)
