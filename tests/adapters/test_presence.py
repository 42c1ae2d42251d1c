"""Whoever holds a lock is there, and is gone however it ends."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from service.adapters.presence import Presence, await_absence, await_alone, enter, remove_deserted

HOLD = """
import sys
from pathlib import Path
from service.adapters.presence import Presence
presence = Presence(Path(sys.argv[1]))
print("there", flush=True)
sys.stdin.read()
"""


def test_nobody_is_there_where_there_is_no_file(tmp_path: Path) -> None:
    assert await_absence(tmp_path / "none", 0.0)


def test_several_can_be_there_and_the_last_one_counts(tmp_path: Path) -> None:
    first, second = Presence(tmp_path / "lock"), Presence(tmp_path / "lock")
    assert not await_absence(tmp_path / "lock", 0.0)
    first.leave()
    assert not await_absence(tmp_path / "lock", 0.1)
    second.leave()
    second.leave()
    assert await_absence(tmp_path / "lock", 0.0)


def test_a_process_that_is_killed_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"there\n"
        assert not await_absence(path, 0.0)
        holder.kill()
        assert await_absence(path, 10.0)


def test_who_is_alone_keeps_others_out_until_it_leaves(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = Presence.alone(path)
    assert first is not None
    assert Presence.alone(path) is None
    assert await_alone(path, 0.1) is None
    assert not await_absence(path, 0.0)
    first.leave()
    second = await_alone(path, 0.0)
    assert second is not None
    second.leave()


def test_nobody_is_alone_where_somebody_is_there(tmp_path: Path) -> None:
    present = Presence(tmp_path / "lock")
    assert Presence.alone(tmp_path / "lock") is None
    present.leave()


def test_whoever_waits_takes_the_place_of_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD.replace("Presence(Path", "Presence.alone(Path"), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"there\n"
        assert Presence.alone(path) is None
        holder.kill()
        taken = await_alone(path, 10.0)
        assert taken is not None
        taken.leave()


def test_only_directories_that_nobody_is_in_are_removed(tmp_path: Path) -> None:
    mine, theirs, left = (tmp_path / name for name in ("mine", "theirs", "left"))
    present, neighbour, former = enter(mine), enter(theirs), enter(left)
    (left / "deep").mkdir()
    (left / "deep" / "file").write_text("counts")
    (tmp_path / "file").write_text("not a directory")
    former.leave()
    assert remove_deserted(tmp_path, mine) == [left]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "mine", "theirs"]
    present.leave()
    assert remove_deserted(tmp_path, mine) == [], "not the own one, whoever is in it"
    neighbour.leave()
    assert remove_deserted(tmp_path, mine) == [theirs]


def test_nobody_enters_a_directory_that_is_being_removed(tmp_path: Path) -> None:
    """Threads stand for processes: each opening of a file has a lock of its own."""
    place, entered, stop = tmp_path / "place", 0, threading.Event()

    def remove() -> None:
        while not stop.is_set():
            remove_deserted(tmp_path, tmp_path / "other")

    remover = threading.Thread(target=remove)
    remover.start()
    try:
        for _ in range(300):
            present = enter(place)
            (place / "file").write_text("there")  # fails where the directory is gone
            entered += 1
            assert (place / "file").read_text() == "there"
            present.leave()
    finally:
        stop.set()
        remover.join()
    assert entered == 300
