"""The cache keeps what is asked for, within its room."""

from __future__ import annotations

from service.adapters.cache import OVERHEAD, ReplyCache
from service.domain.errand import Reply


def reply(size: int) -> Reply:
    return Reply("done", [b"x" * size])


def test_what_was_put_is_found_and_the_rest_is_not() -> None:
    cache = ReplyCache(10_000)
    cache.put(b"a", reply(10))
    assert cache.get(b"a") == reply(10)
    assert cache.get(b"b") is None


def test_what_was_not_asked_for_in_the_longest_time_goes_first() -> None:
    cache = ReplyCache(3 * (OVERHEAD + 101))
    for key in (b"a", b"b", b"c"):
        cache.put(key, reply(100))
    cache.get(b"a")
    cache.put(b"d", reply(100))
    assert [key for key in (b"a", b"b", b"c", b"d") if cache.get(key)] == [b"a", b"c", b"d"]


def test_the_room_is_never_exceeded() -> None:
    cache = ReplyCache(5_000)
    for number in range(100):
        cache.put(b"%d" % number, reply(900))
    kept = [number for number in range(100) if cache.get(b"%d" % number)]
    assert kept == [96, 97, 98, 99]


def test_what_is_larger_than_the_room_is_not_kept() -> None:
    cache = ReplyCache(500)
    cache.put(b"small", reply(10))
    cache.put(b"large", reply(1_000))
    assert cache.get(b"large") is None
    assert cache.get(b"small") is not None
