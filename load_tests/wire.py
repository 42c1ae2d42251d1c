"""HTTP/1.1 as bytes: requests built once, answers read with no more parsing than a check needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+) *\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close *\r\n", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One prepared request and a mark that a right answer's body carries."""

    data: bytes
    expect: bytes = b""
    """Bytes that must occur in the body; empty accepts any body."""


def request(
    method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, expect: bytes = b""
) -> Request:
    """A keep-alive request; Host and Content-Length are added."""
    lines = {"Host": "127.0.0.1", "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return Request(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body, expect)


def answer_length(data: bytes) -> int | None:
    """Bytes of the whole answer that starts ``data``; None while its head is incomplete.

    Raises ``ValueError`` for an answer that does not state its length (chunked, for example).
    """
    end = data.find(_HEAD_END)
    if end < 0:
        return None
    found = _LENGTH.search(data, 0, end + 2)
    if found is None:
        raise ValueError("the answer does not state its Content-Length")
    return end + len(_HEAD_END) + int(found[1])


def status_of(answer: bytes) -> int:
    """200 of ``HTTP/1.1 200 OK``; raises ``ValueError`` when it is no HTTP answer."""
    if not answer.startswith(b"HTTP/1."):
        raise ValueError("not an HTTP answer")
    return int(answer[9:12])


def is_last(answer: bytes) -> bool:
    """Whether its head says ``Connection: close``: nothing more may be sent on this connection."""
    return _CLOSE.search(answer, 0, answer.find(_HEAD_END) + 2) is not None


def body_of(answer: bytes) -> bytes:
    return answer[answer.find(_HEAD_END) + len(_HEAD_END) :]


def header_of(answer: bytes, name: str) -> str | None:
    """The first value of a header, or None."""
    head = answer[: answer.find(_HEAD_END)].decode("latin-1")
    for line in head.split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name.lower():
            return value.strip()
    return None
