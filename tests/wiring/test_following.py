"""An edge takes up within a second what the shadow has learnt from labels."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.adapters import process
from service.wiring import following
from service.wiring.following import Following
from tests.wiring.test_doubting import learnt


@dataclass
class FakeDoubts:
    """Remembers what it was told."""

    told: list[Any] = field(default_factory=list)

    def follow(self, document: Any) -> None:
        if document == "poison":
            raise ZeroDivisionError
        self.told.append(document)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "adaptation.json"


def write(path: Path, document: Any) -> None:
    """Later than whatever was there, however coarse the clock of the file system is."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    process.write_status(path, document)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def followed(path: Path, *tags: str) -> tuple[Following, dict[str, Any]]:
    watched, fakes = Following(path), {tag: FakeDoubts() for tag in tags}
    for tag, fake in fakes.items():
        watched.add(tag, fake)  # type: ignore[arg-type]  # a fake
    return watched, fakes


def test_before_the_first_label_there_is_nothing_to_follow(path: Path) -> None:
    watched, fakes = followed(path, "m:a")
    watched.look()
    assert watched.adaptations() == {}
    assert fakes["m:a"].told == [None]


def test_a_model_that_loads_later_knows_at_once_what_was_learnt(path: Path) -> None:
    write(path, {"m:a": learnt()})
    _, fakes = followed(path, "m:a", "m:b")
    assert (fakes["m:a"].told, fakes["m:b"].told) == ([learnt()], [None])


def test_each_model_hears_its_own_once_for_each_change(path: Path) -> None:
    watched, fakes = followed(path, "m:a", "m:b")
    for labelled in (1, 2):
        write(path, {"m:a": learnt(labelled=labelled)})
        watched.look()
        watched.look()
    assert [told and told["labelled"] for told in fakes["m:a"].told] == [None, 1, 2]
    assert fakes["m:b"].told == [None, None, None]


def test_a_model_that_is_loaded_anew_takes_the_place_of_the_old(path: Path) -> None:
    watched, fakes = followed(path, "m:a")
    again = FakeDoubts()
    watched.add("m:a", again)  # type: ignore[arg-type]  # a fake
    write(path, {"m:a": learnt()})
    watched.look()
    assert (fakes["m:a"].told, again.told) == ([None], [None, learnt()])


def test_watching_survives_a_look_that_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.001)
    watched, fakes = followed(path, "m:a")

    async def run() -> None:
        task = asyncio.create_task(watched.watch())
        for document in ("poison", learnt()):
            write(path, {"m:a": document})
            for _ in range(1000):
                await asyncio.sleep(0.001)
                if "could not be taken up" in caplog.text and (document == "poison" or fakes["m:a"].told[1:]):
                    break
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert fakes["m:a"].told == [None, learnt()]


def test_what_was_learnt_is_shown_beside_the_coverage(path: Path) -> None:
    watched, _ = followed(path, "m:a")
    assert watched.coverage({}, "m:a", 0.9)["adaptive"] is None
    write(path, {"m:a": learnt()})
    assert watched.coverage({}, "m:a", 0.9)["adaptive"]["labelled"] == 9


def test_what_was_learnt_and_is_damaged_is_shown_as_it_is_followed_not_at_all(path: Path) -> None:
    watched, _ = followed(path, "m:a")
    write(path, {"m:a": learnt(levels=[2.0])})
    assert watched.coverage({}, "m:a", 0.9)["adaptive"] is None
