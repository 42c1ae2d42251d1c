"""``python -m load_tests.traffic --url URL``: replays the demo's held-out loan applications.

For something to look at in dashboards and reports: mostly single rows over the native route, some batches,
some over the Open Inference Protocol v2 and KServe v1, routing keys of a few thousand callers, the known
outcome sent back as feedback, and one request in a hundred invalid on purpose, so that error metrics have
something to count. One connection; refuses any host but this machine unless ``--allow-remote`` is given.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from load_tests.mix import KINDS, Posting, V2Inputs, postings, single
from load_tests.stats import percentile

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
BAR = 30
FEEDBACK_AFTER = 50
"""Labels arrive this many requests later, as they would in life."""


@dataclass(slots=True)
class Tally:
    """What came of the replay."""

    answered: Counter[str] = field(default_factory=Counter)
    """Requests by kind."""
    refused: Counter[str] = field(default_factory=Counter)
    """Requests by kind and status, for example ``invalid 422``."""
    arms: Counter[str] = field(default_factory=Counter)
    """Rows by the arm that answered."""
    feedback: Counter[int] = field(default_factory=Counter)
    """Requests by status."""
    unreachable: int = 0
    latencies: list[float] = field(default_factory=list)
    """Seconds of each answered request."""
    rows: int = 0


class Client:
    """One keep-alive connection that is opened again when it breaks."""

    def __init__(self, url: SplitResult, timeout: float = 30.0) -> None:
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(url.hostname or "", url.port, timeout=timeout)
        self._prefix = url.path.rstrip("/")

    def ask(
        self, method: str, path: str, document: object = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Raises ``OSError`` when nobody answers, after one try on a new connection."""
        body = None if document is None else json.dumps(document).encode()
        every = {"Content-Type": "application/json", **(headers or {})}
        for last in (False, True):
            try:
                self._connection.request(method, self._prefix + path, body, every)
                answer = self._connection.getresponse()
                return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                if last:
                    raise ConnectionError(str(error)) from error
        raise AssertionError("the second try returns or raises")

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    url = urlsplit(options.url)
    if url.scheme not in ("http", "https") or not url.hostname:
        print(f"--url: expected http://HOST:PORT, found {options.url!r}", file=sys.stderr)
        return 2
    if url.hostname not in LOOPBACK and not options.allow_remote:
        print(f"{url.hostname} is not this machine; give --allow-remote to send it traffic", file=sys.stderr)
        return 2
    client, tally = Client(url), Tally()
    start = time.monotonic()
    try:
        _replay(client, tally, options)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
    except ConnectionError as error:
        print(f"\n{options.url} does not answer: {error}", file=sys.stderr)
    finally:
        client.close()
    print(summary(tally, options.url, time.monotonic() - start))
    return 0 if tally.latencies else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m load_tests.traffic", description=__doc__)
    parser.add_argument("--url", required=True, help="for example http://127.0.0.1:3000")
    parser.add_argument("--rows", type=int, default=5000, help="rows to send (default 5000)")
    parser.add_argument(
        "--rate", type=float, default=200.0, help="rows per second (default 200; 0: no pause)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--allow-remote", action="store_true", help="send to another machine")
    options = parser.parse_args(arguments)
    if options.rows < 1 or options.rate < 0:
        parser.error("--rows is at least 1 and --rate not below 0")
    return options


def _replay(client: Client, tally: Tally, options: argparse.Namespace) -> None:
    from models.demo.credit import held_out

    applications = held_out()
    draw = random.Random(options.seed)
    model, inputs = _introduce(client, single(applications, draw))
    late: list[tuple[str, list[str]]] = []
    start = time.monotonic()
    for posting in postings(applications, model, inputs, options.rows, draw):
        if options.rate:
            time.sleep(max(0.0, start + tally.rows / options.rate - time.monotonic()))
        request_id = f"traffic-{draw.getrandbits(64):016x}"
        if _post(client, tally, posting, request_id):
            late.append((request_id, posting.labels))
        if len(late) > FEEDBACK_AFTER:
            _send_feedback(client, tally, *late.pop(0))
        tally.rows += len(posting.labels)
        progress(tally.rows, options.rows)
    for entry in late:
        _send_feedback(client, tally, *entry)


def _introduce(client: Client, posting: Posting) -> tuple[str, V2Inputs | None]:
    """The model's name, and its v2 inputs where the service speaks v2; raises ConnectionError."""
    reply = client.ask("POST", posting.path, posting.document)
    if reply.status != 200:
        raise ConnectionError(f"{posting.path} answers {reply.status}: {reply.body[:300]!r}")
    name = reply.json()["model"]["name"]
    metadata = client.ask("GET", f"/v2/models/{name}")
    return name, V2Inputs.read(metadata.json()) if metadata.status == 200 else None


def _post(client: Client, tally: Tally, posting: Posting, request_id: str) -> bool:
    """Whether it was answered."""
    headers = {"X-Request-Id": request_id, "X-Routing-Key": posting.routing_key}
    start = time.perf_counter()
    try:
        reply = client.ask("POST", posting.path, posting.document, headers)
    except ConnectionError:
        tally.unreachable += 1
        if tally.unreachable > 20 and not tally.latencies:
            raise
        return False
    if reply.status != 200:
        tally.refused[f"{posting.kind} {reply.status}"] += 1
        return False
    tally.latencies.append(time.perf_counter() - start)
    tally.answered[posting.kind] += 1
    tally.arms[arm_of(reply)] += len(posting.labels)
    return True


def arm_of(reply: Reply) -> str:
    """Who answered: named in a header, or by the protocol's own place in the body."""
    if "x-model-arm" in reply.headers:
        return reply.headers["x-model-arm"]
    document = reply.json()
    for place in ("model", "parameters"):
        if "arm" in document.get(place, {}):
            return str(document[place]["arm"])
    return "unnamed"


def _send_feedback(client: Client, tally: Tally, request_id: str, labels: list[str]) -> None:
    """Until the service says that it takes none."""
    if tally.feedback[404] or tally.feedback[405]:
        return
    try:
        reply = client.ask("POST", "/feedback", {"request_id": request_id, "labels": labels})
    except ConnectionError:
        tally.unreachable += 1
        return
    tally.feedback[reply.status] += 1


def progress(done: int, total: int) -> None:
    """A bar on one line; nothing where nobody watches."""
    if sys.stderr.isatty():
        filled = BAR * min(done, total) // total
        end = "\n" if done >= total else ""
        bar = "█" * filled + "░" * (BAR - filled)
        print(f"\r{bar} {done:,} / {total:,} rows", end=end, file=sys.stderr, flush=True)


def summary(tally: Tally, url: str, seconds: float) -> str:
    """What happened, for people."""
    return "\n".join(_lines(tally, url.rstrip("/"), seconds))


def _lines(tally: Tally, url: str, seconds: float) -> Iterator[str]:
    kinds = ", ".join(f"{kind} {tally.answered[kind]:,}" for kind in KINDS if tally.answered[kind])
    answered = len(tally.latencies)
    yield f"answered {answered:,} requests ({kinds or 'none'}), {tally.rows:,} rows sent, {seconds:.1f} s"
    refused = ", ".join(f"{name}: {count}" for name, count in sorted(tally.refused.items()))
    yield f"refused  {sum(tally.refused.values()):,}" + (f" ({refused})" if refused else "")
    if tally.unreachable:
        yield f"no answer {tally.unreachable:,}"
    if tally.arms:
        yield "rows by arm: " + ", ".join(f"{arm} {rows:,}" for arm, rows in sorted(tally.arms.items()))
    if tally.latencies:
        ordered = sorted(tally.latencies)
        p50, p99 = (1e3 * percentile(ordered, percent) for percent in (50, 99))
        yield f"latency p50 {p50:.1f} ms, p99 {p99:.1f} ms (one request at a time)"
    taken = tally.feedback[200] + tally.feedback[202]
    if taken:
        yield f"feedback {taken:,} outcomes accepted"
    yield f"what the shadow saw: {url}/console   as JSON: {url}/shadow/report   metrics: {url}/metrics"


if __name__ == "__main__":
    sys.exit(main())
