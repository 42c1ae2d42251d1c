"""What takes a while is made once, and holds up nobody who wants something else."""

from __future__ import annotations

import threading
from contextvars import ContextVar

import pytest

from service.domain.explainers.game import Unsuitable
from service.errors import BusyError, InferenceError
from service.wiring.once import Once


def test_a_value_is_made_once_for_all_who_ask() -> None:
    made: list[str] = []
    once: Once[str, int] = Once(lambda key: made.append(key) or len(made))
    assert [once.get(key) for key in ("a", "b", "a", "b")] == [1, 2, 1, 2]
    assert made == ["a", "b"]


def test_who_asks_for_something_else_does_not_wait_and_who_asks_for_the_same_not_for_ever() -> None:
    go, begun = threading.Event(), threading.Event()

    def make(key: str) -> str:
        if key == "slow":
            begun.set()
            go.wait(10)
        return key.upper()

    once = Once(make)
    thread = threading.Thread(target=once.get, args=("slow",))
    thread.start()
    begun.wait(10)
    try:
        assert once.get("quick", 0.01) == "QUICK"
        with pytest.raises(BusyError, match="being prepared"):
            once.get("slow", 0.01)
    finally:
        go.set()
        thread.join()
    assert once.get("slow", 0.0) == "SLOW"


def test_a_failure_that_would_come_again_is_remembered_and_any_other_tried_again() -> None:
    tries: list[str] = []

    def make(key: str) -> str:
        tries.append(key)
        raise Unsuitable("never") if key == "misfit" else InferenceError("this time")

    once = Once(make)
    lengths = []
    for _ in range(3):
        for key in ("misfit", "unlucky"):
            with pytest.raises((Unsuitable, InferenceError)) as caught:
                once.get(key)
            lengths.append(len(caught.traceback))
    assert tries.count("misfit") == 1
    assert tries.count("unlucky") == 3
    assert lengths[2] == lengths[4]  # what is remembered does not grow with those who are told


def test_what_is_made_is_made_on_nobody_s_behalf() -> None:
    whose: ContextVar[str] = ContextVar("whose", default="nobody's")
    once: Once[str, str] = Once(lambda key: whose.get())
    whose.set("somebody's")
    assert once.get("a") == "nobody's"
