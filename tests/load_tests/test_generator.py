"""The load generator against servers that misbehave on purpose, in this process."""

from __future__ import annotations

import itertools
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from load_tests.generator import Tick, ask, closed_loop, open_loop
from load_tests.pacing import Schedule
from load_tests.wire import answer_length, body_of, is_last, request

Respond = Callable[[int], bytes | None]
"""The bytes that answer the n-th request, counted from 0; None closes the connection instead."""


def answer(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


@contextmanager
def serving(respond: Respond) -> Iterator[tuple[str, int]]:
    lock, seen = threading.Lock(), iter(range(10**9))

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data = b""
            while piece := self.request.recv(1 << 16):
                data += piece
                while (length := answer_length(data)) is not None and len(data) >= length:
                    data = data[length:]
                    with lock:
                        number = next(seen)
                    reply = respond(number)
                    if reply is None:
                        return
                    self.request.sendall(reply)
                    if is_last(reply):
                        return

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is part of these tests."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield ("127.0.0.1", server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


ASKED = request("POST", "/predict", b"{}", expect=b"right")


def test_a_closed_loop_counts_every_answer_and_keeps_the_last() -> None:
    with serving(lambda number: answer(b"right %d" % number)) as address:
        run = closed_loop(address, [ASKED], connections=3, seconds=30, limit=100)
    assert len(run.latencies) == 100
    assert not run.failures
    assert body_of(run.last[0]).startswith(b"right")


def test_a_closed_loop_ends_with_its_time() -> None:
    with serving(lambda _: answer(b"right")) as address:
        run = closed_loop(address, [ASKED], connections=2, seconds=0.2)
    assert 0.2 <= run.seconds < 2
    assert run.summary().per_second > 0


def test_failures_are_told_apart_and_never_counted_as_answers() -> None:
    replies = [answer(b"right"), answer(b"busy", 503), answer(b"something else"), None]
    with serving(lambda number: replies[number % 4]) as address:
        run = closed_loop(address, [ASKED], connections=1, seconds=30, limit=40)
    assert len(run.latencies) == 10
    assert run.failures == {"status 503": 10, "wrong body": 10, "connection": 10}


def test_a_connection_that_the_server_closes_behind_an_answer_is_left_without_a_failure() -> None:
    farewell = answer(b"right").replace(b"X\r\n", b"X\r\nConnection: close\r\n")
    with serving(lambda _: farewell) as address:
        run = closed_loop(address, [ASKED], connections=2, seconds=30, limit=20)
    assert len(run.latencies) == 20
    assert not run.failures


def test_an_answer_without_a_length_is_a_failure() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nright\r\n0\r\n\r\n"
    with serving(lambda _: chunked) as address:
        run = closed_loop(address, [ASKED], connections=1, seconds=30, limit=3)
    assert not run.latencies
    assert sum(run.failures.values()) == 3


def test_bodies_larger_than_any_socket_buffer_pass_both_ways() -> None:
    large = bytes(range(256)) * 40_000  # 10 MB
    prepared = request("POST", "/", large, expect=large[-100:])
    with serving(lambda _: answer(large)) as address:
        run = closed_loop(address, [prepared], connections=2, seconds=60, limit=4)
    assert len(run.latencies) == 4
    assert body_of(run.last[0]) == large


def test_an_open_loop_sends_its_schedule() -> None:
    with serving(lambda _: answer(b"right")) as address:
        run = open_loop(address, [ASKED], Schedule(200, 0.5), connections=4)
    assert len(run.latencies) == 100
    assert 0.45 <= run.seconds < 2


def test_an_open_loop_charges_a_stall_to_every_request_it_delays() -> None:
    """One connection, a stall of 0.3 s in the middle: a closed loop would see one slow answer in sixty."""

    def stall(number: int) -> bytes:
        if number == 20:
            time.sleep(0.3)
        return answer(b"right")

    with serving(stall) as address:
        run = open_loop(address, [ASKED], Schedule(100, 0.6), connections=1)
    delayed = sum(latency > 0.05 for latency in run.latencies)
    assert len(run.latencies) == 60
    assert delayed >= 20


def test_what_is_never_answered_is_a_failure() -> None:
    held = threading.Event()

    def hold(_: int) -> bytes:
        held.wait(20)
        return answer(b"right")

    with serving(hold) as address:
        try:
            run = open_loop(address, [ASKED], Schedule(20, 0.1), connections=2, patience=0.2)
        finally:
            held.set()
    assert not run.latencies
    assert run.failures == {"no answer": 2}


def test_a_dead_server_ends_the_run_instead_of_hanging_it() -> None:
    with serving(lambda _: None) as address:
        run = closed_loop(address, [ASKED], connections=2, seconds=0.3)
    assert not run.latencies
    assert run.failures["connection"] > 0
    with pytest.raises(OSError, match=r"refused|reset"):
        ask(address, ASKED)


def test_a_tick_comes_at_its_interval() -> None:
    ticks: list[float] = []
    with serving(lambda _: answer(b"right")) as address:
        open_loop(
            address,
            [ASKED],
            Schedule(100, 0.5),
            connections=1,
            tick=Tick(0.1, lambda: ticks.append(time.monotonic())),
        )
    assert 3 <= len(ticks) <= 5
    assert min(after - before for before, after in itertools.pairwise(ticks)) >= 0.09


def test_refuses_a_run_without_requests_or_connections() -> None:
    for requests, connections in (([], 1), ([ASKED], 0)):
        with pytest.raises(ValueError, match="at least one"):
            closed_loop(("127.0.0.1", 1), requests, connections=connections, seconds=1)
