"""The canary split's journey from the configuration file to every request.

Each worker looks at the file twice a second. A valid change replaces the split between two requests;
an invalid one is refused and named, and the split in force stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from service.domain.canary import Rollout
from service.errors import UnderstudyError
from service.paths.canary import Canary, Split
from service.paths.predict import PredictPath

log = logging.getLogger("understudy.rollout")

PERIOD_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class RolloutState:
    """What ``/rollout`` shows."""

    rollout: Rollout
    applied_at: datetime
    refused: str | None = None
    """Why the newest change was not applied, or None."""
    refused_at: datetime | None = None


class RolloutPath:
    """Keeps one worker's split as the configuration says.

    Args:
        read: the rollout section as it is now; raises ``ConfigurationError``.
        fingerprint: changes whenever the file does; cheap.
        load: the canary for a candidate's tag; raises ``UnderstudyError``. May take long.
        publish: told (candidate, share from 0 to 1) after every change.
    """

    def __init__(
        self,
        path: PredictPath,
        *,
        read: Callable[[], Rollout],
        fingerprint: Callable[[], object],
        load: Callable[[str], Canary],
        publish: Callable[[str, float], None],
    ) -> None:
        self._path = path
        self._read = read
        self._fingerprint = fingerprint
        self._load = load
        self._publish = publish
        self._seen: object = None
        self.state = RolloutState(path.split.rollout, datetime.now(UTC))

    async def watch(self) -> None:
        """Follows the file until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(PERIOD_SECONDS)

    async def look(self) -> None:
        """Applies the file if it changed since the last look; never raises."""
        try:
            seen = self._fingerprint()
            if seen == self._seen:
                return
            self._seen = seen
            rollout = self._read()
            split = await self._prepare(rollout)
        except Exception as error:  # a watch that ended could never take a canary back
            reason = str(error) if isinstance(error, UnderstudyError) else f"unexpected error: {error!r}"
            self.state = replace(self.state, refused=reason, refused_at=datetime.now(UTC))
            log.error("rollout change refused, the split in force stays: %s", reason)
            return
        self._apply(split)

    async def _prepare(self, rollout: Rollout) -> Split:
        if rollout.candidate is None or not rollout.active:
            return Split(rollout, None)
        present = self._path.split.canary
        if present is not None and present.serving.spec.tag == rollout.candidate:
            return Split(rollout, present)
        return Split(rollout, await asyncio.to_thread(self._load, rollout.candidate))

    def _apply(self, split: Split) -> None:
        before = self.state.rollout
        self._path.split = split
        self.state = RolloutState(split.rollout, datetime.now(UTC))
        if before.candidate is not None and before.candidate != split.rollout.candidate:
            self._publish(before.candidate, 0.0)
        if split.rollout.candidate is not None:
            self._publish(split.rollout.candidate, split.rollout.share_basis_points / 10_000)
        if before != split.rollout:
            log.info("rollout applied: %s", split.rollout)

    def describe(self) -> dict[str, Any]:
        """The state, ready for JSON."""
        state = self.state
        canary = self._path.split.canary
        refused = None
        if state.refused_at is not None:
            refused = {"at": state.refused_at.isoformat(), "reason": state.refused}
        return {
            "candidate": state.rollout.candidate,
            "share_basis_points": state.rollout.share_basis_points,
            "salt": state.rollout.salt,
            "applied_at": state.applied_at.isoformat(),
            "refused": refused,
            "breaker": None if canary is None else "open" if canary.breaker.is_open else "closed",
        }
