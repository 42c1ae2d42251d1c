"""The replay: its mix of requests, its caution and its summary."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from load_tests import traffic
from load_tests.mix import V2Inputs, postings
from load_tests.traffic import Reply, Tally, arm_of, main, summary

APPLICATIONS = [({"Age": 30 + number, "Income": 100.0, "Home": "rent"}, "good") for number in range(20)]
INPUTS = V2Inputs((("Age", "FP32"), ("Income", "FP32"), ("Home", "BYTES")))


def test_the_same_seed_posts_the_same_requests() -> None:
    runs = [list(postings(APPLICATIONS, "credit", INPUTS, 300, random.Random(seed))) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_sends_exactly_the_rows_asked_for() -> None:
    for rows in (1, 7, 500):
        sent = postings(APPLICATIONS, "credit", INPUTS, rows, random.Random(3))
        assert sum(len(posting.labels) for posting in sent) == rows


def test_every_kind_comes_at_about_its_share() -> None:
    sent = list(postings(APPLICATIONS, "credit", INPUTS, 20_000, random.Random(4)))
    kinds = Counter(posting.kind for posting in sent)
    for kind, share in {"native": 0.72, "batch": 0.12, "v2": 0.08, "v1": 0.07, "invalid": 0.01}.items():
        assert kinds[kind] / len(sent) == pytest.approx(share, rel=0.35)
    assert len({posting.routing_key for posting in sent}) > 500


def test_an_invalid_request_differs_from_a_valid_one_in_one_feature() -> None:
    names = set(APPLICATIONS[0][0])
    spoilt = [
        posting.document["instances"][0]
        for posting in postings(APPLICATIONS, "credit", INPUTS, 20_000, random.Random(5))
        if posting.kind == "invalid"
    ]
    assert len(spoilt) > 10
    for instance in spoilt:
        every = names | set(instance)
        differences = [sum(instance.get(name) != row.get(name) for name in every) for row, _ in APPLICATIONS]
        assert min(differences) == 1


def test_v2_posts_one_tensor_per_feature_and_none_where_a_value_is_missing() -> None:
    document = INPUTS.document([row for row, _ in APPLICATIONS[:3]])
    assert document is not None
    tensors = {tensor["name"]: tensor for tensor in document["inputs"]}
    assert tensors["Age"] == {"name": "Age", "datatype": "FP32", "shape": [3, 1], "data": [30, 31, 32]}
    assert INPUTS.document([{"Age": None, "Income": 1.0, "Home": "rent"}]) is None


def test_native_takes_the_place_of_v2_where_the_service_has_none() -> None:
    kinds = {posting.kind for posting in postings(APPLICATIONS, "credit", None, 2000, random.Random(6))}
    assert "v2" not in kinds


def test_batches_ask_how_sure_their_answers_are_and_nothing_else_does() -> None:
    made = list(postings(APPLICATIONS, "credit", None, 2000, random.Random(6)))
    assert {posting.kind for posting in made if "uncertainty" in posting.document} == {"batch"}
    assert all(posting.document["uncertainty"] for posting in made if posting.kind == "batch")


def test_refuses_another_machine_unless_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", "http://192.0.2.1:3000"]) == 2
    assert "--allow-remote" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["127.0.0.1:3000", "ftp://127.0.0.1", "http://"])
def test_refuses_what_is_no_http_url(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", url]) == 2
    assert "expected http://HOST:PORT" in capsys.readouterr().err


def test_nobody_there_is_a_failure_that_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", "http://127.0.0.1:9", "--rows", "5"]) == 1
    output = capsys.readouterr()
    assert "does not answer" in output.err
    assert "answered 0 requests" in output.out


class _Service(BaseHTTPRequestHandler):
    """Enough of the service to replay against; remembers what it was asked."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    asked: Counter[str]

    def do_GET(self) -> None:
        self._reply(404, {})

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked[self.path] += 1
        if self.path == "/feedback":
            self._reply(202, {"matched": True})
        elif any(instance.get("Home") == "castle" for instance in document["instances"]):
            self._reply(422, {})
        else:
            self._reply(200, {"model": {"name": "credit"}, "predictions": []})

    def _reply(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Model-Arm", "canary")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Silent."""


@pytest.fixture
def service() -> Iterator[tuple[str, Counter[str]]]:
    _Service.asked = Counter()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Service) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", _Service.asked
        server.shutdown()
        thread.join()


def test_replays_with_feedback_and_says_what_came_of_it(
    service: tuple[str, Counter[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    url, asked = service
    assert main(["--url", url, "--rows", "400", "--rate", "0", "--seed", "7"]) == 0
    output = capsys.readouterr()
    assert output.err == ""  # no progress bar where nobody watches
    assert asked["/feedback"] > 50
    assert asked["/v1/models/credit:predict"] > 0
    assert "rows by arm: canary" in output.out
    assert "feedback" in output.out
    assert f"{url}/shadow/report" in output.out


@pytest.mark.parametrize(
    ("headers", "body", "arm"),
    [
        ({"x-model-arm": "canary"}, b"{}", "canary"),
        ({}, b'{"model":{"name":"credit","arm":"production"}}', "production"),
        ({}, b'{"parameters":{"arm":"canary"}}', "canary"),
        ({}, b'{"predictions":[]}', "unnamed"),
    ],
)
def test_the_arm_is_read_wherever_a_protocol_names_it(headers: dict[str, str], body: bytes, arm: str) -> None:
    assert arm_of(Reply(200, headers, body)) == arm


def test_the_pace_is_kept(service: tuple[str, Counter[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(traffic.time, "sleep", pauses.append)
    assert main(["--url", service[0], "--rows", "100", "--rate", "10", "--seed", "1"]) == 0
    assert max(pauses) == pytest.approx(9.5, abs=2.5)  # the last request waits for 10 rows per second


def test_a_summary_counts_refusals_by_kind_and_status() -> None:
    tally = Tally()
    tally.answered["native"], tally.rows, tally.latencies = 2, 3, [0.001, 0.002]
    tally.refused["invalid 422"] = 1
    text = summary(tally, "http://127.0.0.1:3000/", 1.0)
    assert "answered 2 requests (native 2)" in text
    assert "invalid 422: 1" in text
