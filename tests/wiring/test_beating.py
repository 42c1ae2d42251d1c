"""A sign of life comes as long as everything moves, and no longer."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

from service.wiring import beating
from service.wiring.beating import beat

SECONDS = 0.02


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """Both ends; the thread that writes ends with the process, so its end stays open."""
    monkeypatch.setattr(beating, "BEAT_SECONDS", SECONDS)
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def beats(reading: int, seconds: float) -> bool:
    """Whether a byte comes in time."""
    found, _, _ = select.select([reading], [], [], seconds)
    return bool(found) and bool(os.read(reading, 4096))


def test_it_beats_until_something_is_stuck_and_again_when_that_moves(
    pipe: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    reading, writing = pipe
    names: list[str | None] = [None]
    asked: list[str | None] = []

    def stuck() -> str | None:
        asked.append(names[0])
        return names[0]

    beat(stuck, writing)
    assert beats(reading, 10.0)
    names[0] = "the shadow of m:2"
    while asked.count("the shadow of m:2") < 2:  # until then a beat may be under way
        beats(reading, SECONDS)
    beats(reading, 0.0)
    assert not beats(reading, 10 * SECONDS)
    names[0] = None
    assert beats(reading, 10.0)
    told = [record.getMessage() for record in caplog.records]
    assert told == ["the shadow of m:2 does not move any more"], "once, not every second"


def test_a_keeper_that_is_gone_does_not_end_the_thread(pipe: tuple[int, int]) -> None:
    """Else a hang afterwards would be told by nobody."""
    reading, writing = pipe
    asked: list[int] = []

    def stuck() -> None:
        asked.append(1)

    spare = os.dup(reading)
    try:
        beat(stuck, writing)
        assert beats(reading, 10.0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), reading)
    finally:
        os.close(spare)
    count = len(asked)
    while len(asked) < count + 3:
        select.select([], [], [], SECONDS)
