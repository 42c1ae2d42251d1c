"""The flood keeps asking, counts what it is told, and its findings fail where a prediction suffers."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from load_tests.explainer_flood import Outcome, Pair, findings
from load_tests.flood import Flood
from load_tests.questions import explain_by
from load_tests.wire import Request, request

ANSWERS = {
    b"yes": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"busy": b"HTTP/1.1 503 Busy\r\nRetry-After: 60\r\nContent-Length: 2\r\n\r\n{}",
    b"late": b"HTTP/1.1 504 Late\r\nContent-Length: 2\r\n\r\n{}",
    b"wrong": b"HTTP/1.1 422 No\r\nContent-Length: 4\r\n\r\nwhat",
}


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """A server that answers as the body of a request says, and hangs up at ``bye``."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # the flood hangs up in the middle of an answer
            while data := connection.recv(65536):
                body = data.rpartition(b"\r\n\r\n")[2]
                if body == b"bye":
                    return
                connection.sendall(ANSWERS[body])

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)


def script(*words: bytes) -> list[Request]:
    return [request("POST", "/explain", word) for word in words]


def drive(flood: Flood, until: int) -> None:
    end = time.monotonic() + 10
    while flood.answered + flood.refused + flood.late + sum(flood.broken.values()) < until:
        assert time.monotonic() < end, "the flood came to a halt"
        flood()


def test_a_caller_asks_again_when_answered_and_stays_away_when_refused(address: tuple[str, int]) -> None:
    words = script(b"busy", b"yes", b"late", b"yes", b"yes")
    with Flood(address, lambda number: words[min(number, 4)], 2) as flood:
        drive(flood, 50)
        assert flood.refused == 1
        assert flood.late == 1
        assert flood.answered >= 48
        assert not flood.broken


def test_what_is_no_answer_is_told_and_the_caller_comes_back(address: tuple[str, int]) -> None:
    words = script(b"wrong", b"bye", b"yes")
    with Flood(address, lambda number: words[min(number, 2)], 3) as flood:
        drive(flood, 30)
        assert sorted(name.split("(")[0] for name in flood.broken) == [
            "ConnectionError",
            "status 422: b'what'",
        ]
        flood.forget()
        assert (flood.answered, len(flood.broken)) == (0, 0)


def test_no_two_requests_of_the_flood_are_alike() -> None:
    make = explain_by("permutation")
    made = {make(number).data for number in range(3000)}
    assert len(made) == 3000
    assert b'"method": "permutation"' in make(0).data


ALONE = Outcome(p50=0.1, p99=2.0, worst=5.0, answered=1000, failed=0, foreign_share=0.0)
UNDER = replace(ALONE, p99=2.1, explained=30.0, explainer_share=0.3)


def verdicts(*pairs: Pair) -> list[str]:
    return [finding.verdict for finding in findings(pairs) if finding.target is not None]


def test_predictions_may_feel_a_tenth_of_their_p99_and_none_may_fail() -> None:
    assert verdicts(Pair(ALONE, UNDER)) == ["met", "met", "met", "met"]
    assert verdicts(Pair(ALONE, replace(UNDER, p99=2.3))) == ["not met", "met", "met", "met"]
    assert verdicts(Pair(ALONE, replace(UNDER, failed=1))) == ["met", "not met", "met", "met"]


def test_a_flood_that_got_no_explanation_or_an_unknown_end_proves_nothing() -> None:
    assert verdicts(Pair(ALONE, replace(UNDER, explained=0.0))) == ["met", "met", "not met", "met"]
    broken = replace(UNDER, broken={"status 500: b''": 2})
    assert verdicts(Pair(ALONE, broken)) == ["met", "met", "met", "not met"]


def test_a_disturbed_pair_counts_only_where_there_is_no_other() -> None:
    disturbed = Pair(ALONE, replace(UNDER, p99=9.0, foreign_share=0.5))
    assert verdicts(disturbed, Pair(ALONE, UNDER), disturbed)[0] == "met"
    assert verdicts(disturbed)[0] == "not met"
