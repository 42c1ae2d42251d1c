"""``POST /shadow/replay``: what a candidate would have answered, offline and beside the service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias

import orjson

from service.errors import BusyError
from service.http.codec import read_json
from service.http.edge import Reply
from service.http.instances import kind_of
from service.http.problem import Problem, does_not_fit
from service.http.traffic import TrafficReader

TRAFFIC = ("instances", "labels", "predictions")
FIELDS = ("candidate", "source", *TRAFFIC)
KEPT = "kept"
"""The one source that can be named: rows that the evidence store has kept."""


class Asked(NamedTuple):
    """A replay that was asked for."""

    candidate: str
    """``NAME:VERSION``"""
    traffic: bytes | None
    """One line of JSON as ``python -m service.replay --file`` reads it; None for the kept rows."""


Replay: TypeAlias = Callable[[Asked], Awaitable[bytes]]
"""Makes the report, JSON. Raises ``BusyError`` while another is made, ``LateError`` where it takes too long,
``Problem`` where there is no such candidate or it cannot be compared."""


class ReplayPage:
    """Reads what is to be replayed, and answers with the report.

    Args:
        reader: checks the rows before a process is started for them.
        replay: makes the report.
    """

    def __init__(self, reader: TrafficReader, replay: Replay) -> None:
        self._reader = reader
        self._replay = replay

    async def __call__(self, body: bytes) -> Reply:
        """The report; raises ``Problem``."""
        asked = await asyncio.to_thread(self._read, body)  # thousands of rows, and others wait for the loop
        try:
            return Reply(await self._replay(asked))
        except BusyError as error:
            raise Problem(409, f"a replay is running; there is one at a time ({error})") from error

    def _read(self, body: bytes) -> Asked:
        try:
            document = orjson.loads(body)
        except ValueError:
            document = read_json(body)
        if not isinstance(document, dict):
            raise does_not_fit([{"loc": [], "msg": f"expected an object, found {kind_of(document)}"}])
        errors: list[dict[str, Any]] = [
            {"loc": [name], "msg": f"unknown field; there are {', '.join(FIELDS)}"}
            for name in document
            if name not in FIELDS
        ]
        candidate = document.get("candidate")
        if not isinstance(candidate, str):
            errors.append({"loc": ["candidate"], "msg": "expected the tag of a bundle, NAME:VERSION"})
        if "source" in document and document["source"] != KEPT:
            errors.append({"loc": ["source"], "msg": f"expected {KEPT!r}"})
        if ("source" in document) == ("instances" in document):
            errors.append({"loc": ["instances"], "msg": f"expected either instances, or source: {KEPT!r}"})
        elif "source" in document:
            errors += [
                {"loc": [name], "msg": "goes with instances"} for name in TRAFFIC[1:] if name in document
            ]
        elif not isinstance(document["instances"], list):
            found = kind_of(document["instances"])
            errors.append({"loc": ["instances"], "msg": f"expected an array, found {found}"})
        if errors or not isinstance(candidate, str):
            raise does_not_fit(errors)
        if "source" in document:
            return Asked(candidate, None)
        traffic = {name: document[name] for name in TRAFFIC if document.get(name) is not None}
        self._reader.request("the body", traffic)
        try:
            return Asked(candidate, orjson.dumps(traffic))
        except TypeError:  # a whole number of more than 64 bits
            return Asked(candidate, json.dumps(traffic).encode())
