"""What there is to say about one candidate, worked out no oftener than it can have changed.

A verdict takes some 10 ms and everything that it rests on 70, in a process that only gets CPU nobody else
wants. So a verdict is new each time that anything was seen since, the rest every few seconds, and at rest
only the time moves on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from service.domain.evidence.document import Seen, Study, assess, moment

EVIDENCE_SECONDS = 5.0
"""How often everything is written out that a verdict rests on."""


@dataclass(slots=True)
class Judge:
    """Judges one candidate again and again; belongs to one thread.

    Args:
        study: the candidate beside production.
        behaviour: how its behavioural suite went; None where it has none.
        said: told each verdict's state.
    """

    study: Study
    behaviour: Mapping[str, Any] | None
    said: Callable[[str], None]
    assess: Callable[[Study, Seen, Mapping[str, Any] | None], dict[str, Any]] = assess
    _found: dict[str, Any] | None = None
    _verdict_of: bytes = b""
    """What the verdict was made of that was found last."""
    _evidence_of: bytes = b""
    """The same of the evidence, which may be older."""
    _written: float = -EVIDENCE_SECONDS

    def __call__(self, seen: Seen) -> dict[str, Any]:
        """``verdict`` and ``evidence``, as ``service.domain.evidence.document.assess``."""
        made_of = _fingerprint(seen)
        due = not 0 <= seen.now - self._written < EVIDENCE_SECONDS  # also where the clock was put back
        evidence_due = self._found is None or (made_of != self._evidence_of and due)
        if self._found is None or evidence_due or made_of != self._verdict_of:
            known = replace(seen, behaviour=self.behaviour)
            before = None if self._found is None or evidence_due else self._found["evidence"]
            self._found = self.assess(self.study, known, before)
            self._verdict_of = made_of
        if evidence_due:
            self._evidence_of, self._written = made_of, seen.now
        self._found = _as_of(self._found, seen.now, both=made_of == self._evidence_of)
        self.said(self._found["verdict"]["state"])
        return self._found


def _as_of(found: dict[str, Any], now: float, *, both: bool) -> dict[str, Any]:
    """The document with a new time at the verdict, and at the evidence where that has not changed either."""
    return {
        name: {**part, "as_of": moment(now)} if both or name == "verdict" else part
        for name, part in found.items()
    }


def _fingerprint(seen: Seen) -> bytes:
    """The same where nothing that is said can have changed, but for the time."""
    found = hashlib.blake2b(digest_size=16)
    for page, sums in sorted(seen.books.items()):
        found.update(repr(page).encode())
        found.update(sums.tobytes())
    cases = [
        (case.kind, case.slice, case.rank, bool(case.document.get("explanations"))) for case in seen.cases
    ]
    found.update(repr((cases, seen.store, seen.since, seen.refused)).encode())
    return found.digest()
