"""A resolver that hangs holds nobody up for long, and a connection that comes too late is not kept."""

from __future__ import annotations

import threading

import psycopg
import pytest

from service.adapters.store.postgres import NoAnswer, in_time

LONG = 20.0
SHORT = 0.05


def test_what_comes_in_time_is_given_and_kept() -> None:
    discarded: list[str] = []
    assert in_time(lambda: "connection", LONG, discarded.append) == "connection"
    assert discarded == []


def test_who_waits_is_told_as_of_a_server_that_does_not_answer_and_what_comes_late_is_discarded() -> None:
    resolved, closed = threading.Event(), threading.Event()

    def connect() -> str:
        assert resolved.wait(LONG)
        return "connection"

    with pytest.raises(NoAnswer, match=r"no connection within 0.05 s"):
        in_time(connect, SHORT, lambda _: closed.set())
    assert not closed.is_set()
    resolved.set()
    assert closed.wait(LONG)


def test_why_there_is_no_connection_is_passed_on() -> None:
    def refuse() -> None:
        raise psycopg.OperationalError("connection refused")

    with pytest.raises(psycopg.OperationalError, match="refused"):
        in_time(refuse, LONG, lambda _: None)


def test_a_refusal_that_comes_late_is_nobodys_business() -> None:
    resolved, refused = threading.Event(), threading.Event()

    def refuse() -> None:
        assert resolved.wait(LONG)
        refused.set()
        raise psycopg.OperationalError("connection refused")

    with pytest.raises(NoAnswer):
        in_time(refuse, SHORT, lambda _: None)
    resolved.set()
    assert refused.wait(LONG)
    for thread in [each for each in threading.enumerate() if each.name == "connect"]:
        thread.join(LONG)  # pytest tells of exceptions in threads
