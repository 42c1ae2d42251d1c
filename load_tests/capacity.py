"""How many requests per second keep a server as busy as wanted."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from load_tests.contestants import CONNECTIONS
from load_tests.generator import closed_loop, open_loop
from load_tests.pacing import Schedule
from load_tests.server import Server
from load_tests.wire import Request


def rate_at(share: float, server: Server, requests: Sequence[Request], seconds: float) -> float:
    """Requests per second that keep one core busy for ``share`` of the time; takes 2 x ``seconds``.

    An open loop costs a server more per request than a closed one, whose requests come in bunches; so the
    cost is taken from an open loop at about a third of what a closed loop reaches. The server is suspended,
    and so it is again afterwards; all its processes count, so none should work on the side.
    """
    server.resume()
    fastest = closed_loop(server.address, requests, connections=CONNECTIONS, seconds=seconds / 2).summary()
    costs = []
    for _ in range(3):
        before = server.cpu_seconds()
        run = open_loop(server.address, requests, Schedule(fastest.per_second / 3, seconds / 2))
        costs.append((server.cpu_seconds() - before) / run.summary().answered)
    server.suspend()
    return share / median(costs)
