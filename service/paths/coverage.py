"""The journey of a label back to the region that was answered: was it in there, and what follows from that.

When an answer is recorded, what is needed to judge any label later is kept with it, and the thresholds in
force. When its label comes, the row counts as covered or not; where regions are to follow the labels, the
model's state learns from it, and the edges are told. All of it runs beside the edge, in one thread.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import deque
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

TAKEN_UP_SECONDS = 0.5
"""Until edges answer by what they are told: they look once a second."""
REMEMBERED = 120
"""So many earlier regions are known, for answers that waited to be recorded."""


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """A model whose answers carry regions."""

    tag: str
    key: str
    """Under which its state is kept: another bundle, measure or confidence starts anew, and judges no answers
    but its own."""
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
    clock: Callable[[], float] = time.monotonic
    _told: deque[tuple[float, dict[str, Region]]] = field(default_factory=deque)
    """Since when edges answer with which regions, by tag; the last are in force."""
    _learnt: dict[str, Adaptation] = field(default_factory=dict)
    """What the last step learnt and nobody was told yet, by tag."""

    def __post_init__(self) -> None:
        self._told.append((-math.inf, self._static()))

    def restore(self, learnt: Mapping[str, bytes]) -> None:
        """Goes on where an earlier process stopped, or another one is by now.

        The edges are told in any case: what they still know may be of another bundle, or to be forgotten.
        """
        self._learnt = {}
        for each in self.watched.values():
            if self.adapt and each.key in learnt:
                state = self._state(each, learnt)
                self._learnt[each.tag] = adaptation(state, self.pace, each.region, each.confidence)
        if len(self._told) == 1:  # an earlier process has told them so
            self._told.clear()
        self._tell(self._static())

    def judge(self, batch: ShadowBatch) -> NDArray[np.float64] | None:
        """What is kept with answers until their labels come, [rows, k]; as of when they were received.

        Models differ in how much they need; who needs less leaves the first columns empty. None where
        nobody's answers carry regions.
        """
        if not self.watched:
            return None
        width = max(each.width + each.outputs for each in self.watched.values())
        kept = np.full((len(batch), width), np.nan)
        in_time = (told for since, told in reversed(self._told) if since <= batch.received)
        regions = next(in_time, self._told[0][1])
        for number, each in self.watched.items():
            mine = batch.answerers == number
            if mine.any():
                region = regions[each.tag]
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
        if found.batches and self._learnt:
            self._tell(self._told[-1][1])

    def judged_by(self, number: int) -> str:
        """What makes the evidence of a model's answers; see ``service.domain.labels.Answerer``."""
        return self.watched[number].key if number in self.watched else ""

    def _counts(self, batch: Labelled) -> Counts:
        each = self._of(batch)
        if each is None:
            return {}
        evidence, in_force = self._parted(each, batch)
        judged = judge(each.region, evidence, batch.labels, in_force)
        return count(each.tag, batch.answerer.arm, batch.members(), judged.covered)

    def _of(self, batch: Labelled) -> Watched | None:
        """The model that answered, where its answers were kept with what judging them needs."""
        each = next((each for each in self.watched.values() if each.key == batch.answerer.judged_by), None)
        if each is None or batch.evidence is None:
            return None
        needed = each.width + each.outputs
        if batch.evidence.shape[1] < needed or np.isnan(batch.evidence[:, -each.outputs :]).any():
            return None
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

    def _tell(self, before: Mapping[str, Region]) -> None:
        """Tells the edges what regions are in force: those of ``before``, but for what was learnt."""
        regions = {
            each.tag: AdaptedRegion(each.region, self._learnt[each.tag])
            if each.tag in self._learnt
            else before[each.tag]
            for each in self.watched.values()
        }
        self._learnt = {}
        self.publish(
            {
                tag: region.adaptation.to_document()
                for tag, region in regions.items()
                if isinstance(region, AdaptedRegion)
            }
        )
        since = self.clock() + TAKEN_UP_SECONDS if self._told else -math.inf
        if len(self._told) > 1 and since - self._told[-1][0] < TAKEN_UP_SECONDS:
            since, _ = self._told.pop()  # labels may be learnt from many times a second
        self._told.append((since, regions))
        if len(self._told) > REMEMBERED:
            self._told.popleft()

    def _static(self) -> dict[str, Region]:
        return {each.tag: each.region for each in self.watched.values()}
