"""The configuration file decides the split; what is wrong in it changes nothing but the report."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from service.domain.breaker import Breaker, tripped
from service.domain.canary import Rollout
from service.domain.schema import FeatureBatch, Scores
from service.errors import BundleError
from service.paths import rollout as rollout_path
from service.paths.canary import Canary
from service.paths.predict import PredictPath
from service.paths.question import Serving
from service.paths.rollout import RolloutPath
from service.settings import read_rollout
from tests.domain.models import spec

CANDIDATES = ("m:one", "m:two", "m:broken", "m:bug")


def serving(version: str) -> Serving:
    def infer(rows: FeatureBatch, due: float) -> Scores:
        raise AssertionError("nobody asks here")

    async def infer_in_thread(rows: FeatureBatch, due: float) -> Scores:
        raise AssertionError("nobody asks here")

    class NoTally:
        labels: list[int] = []  # noqa: RUF012 - never written to
        seconds: list[float] = []  # noqa: RUF012 - never written to
        domain: list[int] = []  # noqa: RUF012 - never written to

    return Serving(spec(version), infer, infer_in_thread, 1, NoTally())


class World:
    """A real file and settings reader, a fake loader, and what was published."""

    def __init__(self, path: Path) -> None:
        self.file = path
        self.loaded: list[str] = []
        self.published: list[tuple[str, float]] = []
        self.shares: dict[str, float] = {}
        self.edits = 0
        self.predict = PredictPath(
            serving("prod"), None, deadline=2, canary_deadline=1, fell_back=lambda fallback: None
        )
        self.rollouts = RolloutPath(
            self.predict, read=self.read, fingerprint=self.fingerprint, load=self.load, publish=self.publish
        )

    def read(self) -> Rollout:
        section = read_rollout(self.file, CANDIDATES, {})
        return Rollout(section.candidate, section.share_basis_points, section.salt)

    def fingerprint(self) -> object:
        return self.edits if self.file.exists() else None

    def load(self, tag: str) -> Canary:
        self.loaded.append(tag)
        if tag == "m:broken":
            raise BundleError("m:broken fails parity")
        if tag == "m:bug":
            raise ZeroDivisionError("a bug")
        return Canary(serving(tag.removeprefix("m:")), lambda rows: rows, Breaker())

    def publish(self, candidate: str, share: float) -> None:
        self.published.append((candidate, share))
        self.shares[candidate] = share

    def write(self, text: str | bytes) -> None:
        """An edit that the next look sees."""
        self.file.write_bytes(text.encode() if isinstance(text, str) else text)
        self.edits += 1

    def say(self, candidate: str | None, share: int, salt: str = "s") -> None:
        name = candidate or "null"
        self.write(f"rollout: {{candidate: {name}, share_basis_points: {share}, salt: {salt}}}")

    def look(self, times: int = 1) -> None:
        async def looks() -> None:
            for _ in range(times):
                await self.rollouts.look()

        asyncio.run(looks())

    @property
    def split(self) -> tuple[str | None, int, str | None]:
        """Candidate and share in force, and the tag of the canary that answers."""
        split = self.predict.split
        tag = split.canary.serving.spec.tag if split.canary is not None else None
        return split.rollout.candidate, split.rollout.share_basis_points, tag


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "understudy.yaml")


def test_starts_with_production_alone(world: World) -> None:
    assert world.split == (None, 0, None)
    assert world.rollouts.describe()["refused"] is None
    assert world.rollouts.describe()["breaker"] is None


def test_a_valid_change_is_applied_and_published(world: World) -> None:
    world.say("m:one", 500)
    world.look()
    assert world.split == ("m:one", 500, "m:one")
    assert world.shares == {"m:one": 0.05}
    shown = world.rollouts.describe()
    assert (shown["candidate"], shown["share_basis_points"], shown["salt"]) == ("m:one", 500, "s")
    assert (shown["refused"], shown["breaker"]) == (None, "closed")


def test_a_file_that_did_not_change_is_not_read_again(world: World) -> None:
    world.say("m:one", 500)
    world.look(5)
    assert world.loaded == ["m:one"]
    assert world.published == [("m:one", 0.05)]


def test_a_raised_share_keeps_the_loaded_canary_and_its_breaker(world: World) -> None:
    world.say("m:one", 500)
    world.look()
    canary = world.predict.split.canary
    assert canary is not None
    canary.breaker = tripped(canary.breaker, 0.0)
    world.say("m:one", 2_500)
    world.look()
    assert world.split == ("m:one", 2_500, "m:one")
    assert world.predict.split.canary is canary
    assert world.rollouts.describe()["breaker"] == "open"
    assert world.loaded == ["m:one"]


@pytest.mark.parametrize("share", [0, 300])
def test_another_candidate_publishes_nought_for_the_old_one(world: World, share: int) -> None:
    world.say("m:one", 500)
    world.look()
    world.say("m:two", share)
    world.look()
    assert world.split == ("m:two", share, "m:two" if share else None)
    assert world.shares == {"m:one": 0.0, "m:two": share / 10_000}


@pytest.mark.parametrize(("candidate", "share"), [(None, 0), ("m:one", 0)])
def test_taking_the_share_back_leaves_production_alone(
    world: World, candidate: str | None, share: int
) -> None:
    world.say("m:one", 500)
    world.look()
    world.say(candidate, share)
    world.look()
    assert world.split == (candidate, 0, None)
    assert world.shares == {"m:one": 0.0}


WRONG: dict[str, tuple[str | bytes, str]] = {
    "another candidate": ("rollout: {candidate: m:three, share_basis_points: 1}", "m:three"),
    "too large a share": ("rollout: {candidate: m:two, share_basis_points: 10001}", "share_basis_points"),
    "a share of nobody": ("rollout: {share_basis_points: 5}", "needs a candidate"),
    "an unknown key": ("rollout: {candidate: m:two, share: 5}", "share"),
    "half a file": ("rollout: {candidate: m:two, share_basis_po", "not YAML"),
    "an empty file": ("", "keys and values"),
    "a section that is no section": ("rollout: 5", "rollout"),
    "half a character": ("rollout: {salt: ü".encode()[:-1], "not YAML"),
    "an impossible date": ("rollout: {salt: 2026-02-31}", "not YAML"),
    "a candidate that cannot load": ("rollout: {candidate: m:broken, share_basis_points: 5}", "fails parity"),
    "a bug of ours": ("rollout: {candidate: m:bug, share_basis_points: 5}", "ZeroDivisionError"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_invalid_change_is_refused_and_named_and_the_split_stays(
    world: World, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    text, named = WRONG[case]
    world.say("m:one", 500)
    world.look()
    before = world.predict.split
    world.write(text)
    with caplog.at_level(logging.ERROR):
        world.look(3)
    assert world.predict.split is before
    shown = world.rollouts.describe()
    assert shown["candidate"] == "m:one"
    assert named in shown["refused"]["reason"]
    assert caplog.text.count("refused, the split in force stays") == 1
    assert world.shares == {"m:one": 0.05}


def test_a_refusal_is_forgotten_once_a_valid_change_comes(world: World) -> None:
    world.write("rollout: {candidate: m:two, share_basis_po")  # half-written
    world.look()
    assert world.rollouts.describe()["refused"] is not None
    world.say("m:two", 100)  # completed
    world.look()
    assert world.split == ("m:two", 100, "m:two")
    assert world.rollouts.describe()["refused"] is None


def test_a_deleted_file_changes_nothing_and_its_return_counts(world: World) -> None:
    world.say("m:one", 500)
    world.look()
    world.file.unlink()
    world.look()
    assert world.split == ("m:one", 500, "m:one")
    assert "cannot be read" in world.rollouts.describe()["refused"]["reason"]
    world.say("m:one", 600)
    world.look()
    assert world.split == ("m:one", 600, "m:one")


def test_a_fingerprint_that_cannot_be_taken_is_a_refusal(world: World) -> None:
    world.say("m:one", 500)
    world.look()

    def gone() -> object:
        raise PermissionError("no entry")

    world.rollouts._fingerprint = gone
    world.look()
    assert world.split == ("m:one", 500, "m:one")
    assert "no entry" in world.rollouts.describe()["refused"]["reason"]


def test_the_watch_outlives_whatever_happens_and_applies_what_comes_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_path, "PERIOD_SECONDS", 0.001)
    world.say("m:bug", 5)

    async def until(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110 - what is watched has no event
                await asyncio.sleep(0.001)

    async def scenario() -> None:
        watching = asyncio.create_task(world.rollouts.watch())
        await until(lambda: world.rollouts.state.refused is not None)
        world.say("m:one", 700)
        await until(lambda: world.split[2] == "m:one")
        assert not watching.done()
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching

    asyncio.run(scenario())


def test_the_event_loop_turns_while_a_candidate_loads(world: World) -> None:
    async def scenario() -> None:
        loop, turned = asyncio.get_running_loop(), asyncio.Event()
        load: Callable[[str], Canary] = world.rollouts._load

        def slow(tag: str) -> Canary:
            future: Coroutine[Any, Any, bool] = turned.wait()
            assert asyncio.run_coroutine_threadsafe(future, loop).result(5)
            return load(tag)

        world.rollouts._load = slow
        world.say("m:one", 5)
        looking: Awaitable[None] = asyncio.create_task(world.rollouts.look())
        await asyncio.sleep(0)
        assert world.split == (None, 0, None)  # requests are answered as before
        turned.set()
        await looking
        assert world.split == ("m:one", 5, "m:one")

    asyncio.run(scenario())
