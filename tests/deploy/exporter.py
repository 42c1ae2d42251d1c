"""Replicas that are nothing but a metrics page: each time it is asked for, some more rows have come."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from tests.deploy.distributions import Counted
from tests.deploy.promtool import selector


class Replica:
    """One process that counts; after ``restart`` pages it is born again, and counts from nought."""

    def __init__(self, name: str, counted: Iterable[Counted], seed: int, restart: int = 0) -> None:
        self._mine = [(each, each.live[name]) for each in counted if name in each.live]
        self._draw = np.random.default_rng(seed)
        self._restart = restart
        self._pages = 0
        self._rows: dict[str, float] = {}
        self._turn = threading.Lock()

    def page(self) -> bytes:
        with self._turn:
            self._pages += 1
            if self._pages == self._restart:
                self._rows.clear()
            return "".join(f"{series} {value:g}\n" for series, value in self._series()).encode()

    def _series(self) -> Iterator[tuple[str, float]]:
        for counted, live in self._mine:
            for name, rows in live.items():
                series = selector("understudy_distribution_rows_total", {**counted.labels, "bin": name})
                more = float(self._draw.poisson(rows)) if self._pages > 1 else 0.0
                self._rows[series] = self._rows.get(series, 0.0) + more
                yield series, self._rows[series]
        yield from self._reference().items()

    def _reference(self) -> Mapping[str, float]:
        return {
            selector("understudy_reference_rows", {**counted.reference_labels, "bin": name}): rows
            for counted, _ in self._mine
            for name, rows in counted.reference.items()
        }


@contextlib.contextmanager
def serving(replicas: Iterable[Replica]) -> Iterator[list[str]]:
    """HOST:PORT of each replica's page."""
    with contextlib.ExitStack() as stack:
        addresses = []
        for replica in replicas:
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), _handler(replica)))
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            addresses.append(f"127.0.0.1:{server.server_port}")
        yield addresses


def _handler(replica: Replica) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = replica.page()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    return Handler
