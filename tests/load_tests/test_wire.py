"""HTTP as bytes."""

from __future__ import annotations

import pytest

from load_tests.wire import answer_length, body_of, header_of, is_last, request, status_of

ANSWER = b"HTTP/1.1 422 Unprocessable Content\r\nX-Model-Arm: canary\r\ncontent-length: 4\r\n\r\nbody"


def test_a_request_states_the_length_of_its_body() -> None:
    data = request("POST", "/predict", b"12345", {"X-Routing-Key": "k"}).data
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /predict HTTP/1.1\r\n")
    assert b"Content-Length: 5" in head
    assert b"X-Routing-Key: k" in head
    assert body == b"12345"


def test_an_answer_is_taken_apart() -> None:
    assert status_of(ANSWER) == 422
    assert body_of(ANSWER) == b"body"
    assert header_of(ANSWER, "x-model-arm") == "canary"
    assert header_of(ANSWER, "retry-after") is None
    assert answer_length(ANSWER) == len(ANSWER)


def test_the_length_is_unknown_until_the_head_is_whole() -> None:
    head = len(ANSWER) - len(b"body")
    assert {answer_length(ANSWER[:size]) for size in range(head)} == {None}
    assert {answer_length(ANSWER[:size]) for size in range(head, len(ANSWER))} == {len(ANSWER)}


def test_a_length_in_the_body_is_not_taken_for_the_header() -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        answer_length(b"HTTP/1.1 200 OK\r\n\r\n\r\nContent-Length: 5\r\n\r\n")


@pytest.mark.parametrize(
    ("head", "last"),
    [
        (b"Connection: close", True),
        (b"connection:CLOSE ", True),
        (b"Connection: keep-alive", False),
        (b"X-Connection: close", False),
    ],
)
def test_says_whether_the_server_closes_behind_an_answer(head: bytes, last: bool) -> None:
    assert is_last(b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: 4\r\n\r\nbody" % head) is last
    assert not is_last(b"HTTP/1.1 200 OK\r\n\r\n\r\n%b\r\n\r\n" % head)


def test_refuses_bytes_that_are_no_http_answer() -> None:
    with pytest.raises(ValueError, match="not an HTTP answer"):
        status_of(b"SSH-2.0-OpenSSH")
