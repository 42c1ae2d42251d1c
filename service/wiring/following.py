"""Lets an edge's measures follow what the shadow learns from labels."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.adapters import process
from service.domain.coverage import counts_of, document
from service.domain.report import Samples
from service.domain.uncertainty.adaptation import adaptation_of
from service.wiring.doubting import Doubts

log = logging.getLogger("understudy.following")

LOOK_SECONDS = 1.0
"""How often it is seen whether something was learnt."""


@dataclass(slots=True)
class Following:
    """The models of one edge, and the file that says how labels have moved their regions."""

    path: Path
    _doubts: dict[str, Doubts] = field(default_factory=dict)
    _seen: object = None

    def add(self, tag: str, doubts: Doubts) -> None:
        """Lets a model follow as well; one of the same tag is followed no longer."""
        self._doubts = {**self._doubts, tag: doubts}
        doubts.follow(self.adaptations().get(tag))

    def adaptations(self) -> dict[str, Any]:
        """What was learnt, by tag; empty before the first label, and where nothing is to follow labels."""
        found: dict[str, Any] | None = process.read_status(self.path)
        return found or {}

    def look(self) -> None:
        """Takes up what was learnt since the last look."""
        try:
            found = self.path.stat()
        except OSError:
            return
        seen = found.st_mtime_ns, found.st_size, found.st_ino
        if seen == self._seen:
            return
        self._seen = seen
        adaptations = self.adaptations()
        for tag, doubts in self._doubts.items():
            doubts.follow(adaptations.get(tag))

    async def watch(self) -> None:
        """Looks for as long as the edge runs, beside the event loop."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except Exception:  # answers go on as they were
                log.exception("what was learnt from labels could not be taken up")
            await asyncio.sleep(LOOK_SECONDS)

    def coverage(self, samples: Samples, tag: str, confidence: float) -> dict[str, Any]:
        """One model's live coverage for ``/models``; see ``service.domain.coverage.document``."""
        learnt, adaptation = self.adaptations().get(tag), None
        if learnt is not None:
            with contextlib.suppress(ValueError):  # damaged: nobody follows it, see ``Doubts.follow``
                adaptation = adaptation_of(learnt)
        return document(counts_of(samples, tag), tag, confidence, adaptation)
