"""Which arm answers a request: a salted hash of the routing key into 10,000 buckets.

The first 8 bytes of SHA-256 over ``salt + ":" + key`` (UTF-8), read as a big-endian integer, modulo
10,000. A key is in the canary while its bucket is below the share in basis points, so a raised
share only adds keys and a new salt draws anew. Known answers for other languages:
``tests/vectors/canary.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Rollout:
    """A canary split: ``share_basis_points`` of 10,000 routing keys go to ``candidate``."""

    candidate: str | None = None
    share_basis_points: int = 0
    salt: str = "understudy"

    @property
    def active(self) -> bool:
        return self.candidate is not None and self.share_basis_points > 0


def bucket(salt: str, key: str) -> int:
    """The bucket of a routing key, 0 to 9,999."""
    return int.from_bytes(sha256(f"{salt}:{key}".encode()).digest()[:8], "big") % BUCKETS


def in_canary(rollout: Rollout, key: str) -> bool:
    """Whether the canary answers requests with this routing key."""
    return rollout.active and bucket(rollout.salt, key) < rollout.share_basis_points
