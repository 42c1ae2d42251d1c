"""Callers that stay as long as they may, and what is said of a lost answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from load_tests.callers import calling


class Ending(BaseHTTPRequestHandler):
    """Ends every third connection without an answer, and every other one with its answer."""

    protocol_version = "HTTP/1.1"
    count = 0

    def do_POST(self) -> None:
        Ending.count += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        if Ending.count % 3:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def ending() -> Iterator[tuple[str, int]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Ending) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield ("127.0.0.1", server.server_port)
        server.shutdown()
        thread.join()


def test_a_lost_answer_is_counted_and_not_tried_again() -> None:
    Ending.count = 0
    with ending() as address, calling(address, "/", b"{}", callers=1) as callers:
        while callers.ended.total() < 9:
            threading.Event().wait(0.01)
    assert callers.ended.total() == Ending.count == callers.connections
    assert callers.ended["RemoteDisconnected"] == Ending.count // 3
    assert callers.ended["200"] == Ending.count - Ending.count // 3
    assert len(callers.latencies) == Ending.count
