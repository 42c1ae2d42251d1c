"""The canary split: the same key meets the same arm everywhere, and a share is a share."""

from __future__ import annotations

import json
import math
from hashlib import sha256
from pathlib import Path

import pytest

from service.domain.canary import BUCKETS, Rollout, bucket, in_canary

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "canary.json").read_text("utf-8"))["vectors"]
"""Known answers from ``sha256sum`` and ``bc``; the file shows the command line that made them."""

KEYS = [f"customer-{number}" for number in range(20_000)]
SHARES = (1, 10, 100, 500, 2_500, 5_000, 9_999)


def chosen(share: int, salt: str = "understudy") -> set[str]:
    rollout = Rollout("credit:gbm-2", share, salt)
    return {key for key in KEYS if in_canary(rollout, key)}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['salt']}:{vector['key'][:12]}")
def test_a_key_falls_into_its_known_bucket(vector: dict[str, str | int]) -> None:
    assert bucket(str(vector["salt"]), str(vector["key"])) == vector["bucket"]


def test_the_bucket_is_what_the_hexadecimal_digest_says() -> None:
    for key in KEYS[:2_000]:
        digits = sha256(b"understudy:" + key.encode("utf-8")).hexdigest()[:16]
        assert bucket("understudy", key) == int(digits, 16) % 10_000


def test_a_raised_share_only_adds_keys() -> None:
    before: set[str] = set()
    for share in (0, *SHARES, BUCKETS):
        after = chosen(share)
        assert before <= after
        before = after


@pytest.mark.parametrize("share", SHARES)
def test_a_share_is_kept_within_five_standard_deviations(share: int) -> None:
    expected = len(KEYS) * share / BUCKETS
    deviation = math.sqrt(expected * (1 - share / BUCKETS))
    assert abs(len(chosen(share)) - expected) <= 5 * deviation


def test_buckets_are_uniform() -> None:
    counts = [0] * 100
    for key in KEYS:
        counts[bucket("understudy", key) // 100] += 1
    expected = len(KEYS) / 100
    chi_squared = sum((count - expected) ** 2 / expected for count in counts)
    assert chi_squared < 99 + 5 * math.sqrt(2 * 99)  # mean and standard deviation of 99 degrees of freedom


def test_another_salt_draws_anew() -> None:
    both = chosen(2_500) & chosen(2_500, "another")
    expected = len(KEYS) / 16
    assert abs(len(both) - expected) <= 5 * math.sqrt(expected * 15 / 16)


def test_share_nought_chooses_nobody_and_the_whole_share_everybody() -> None:
    assert chosen(0) == set()
    assert chosen(BUCKETS) == set(KEYS)


def test_without_a_candidate_nobody_is_chosen() -> None:
    rollout = Rollout(None, BUCKETS)
    assert not rollout.active
    assert not any(in_canary(rollout, key) for key in KEYS[:100])
