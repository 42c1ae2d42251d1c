"""The rows that the evidence store has kept of a production model, to be replayed or exported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from service.domain.evidence.cases import Case
from service.domain.evidence.redaction import IMAGE
from service.errors import TrafficError
from service.settings import Environment
from service.wiring.store import LazyStore

PATIENCE_SECONDS = 30.0
"""How long the store is waited for: nobody waits for the answer."""


class KeptRows:
    """Each kept row once, whichever candidate it was kept for.

    Args:
        environment: says where the store is.
        production: the tag of the model that answered them.
    """

    def __init__(self, environment: Environment, production: str) -> None:
        environment.home.mkdir(parents=True, exist_ok=True)
        self._store = LazyStore(environment, PATIENCE_SECONDS, durable=False)
        self._production = production
        self.redacted = 0
        """Rows that were left out because the store has not all of their inputs."""

    def requests(self) -> Iterator[dict[str, Any]]:
        """Rows as requests of one row each, as ``--file`` reads them; marked as no fair sample."""
        seen: set[tuple[str, int]] = set()
        for key in self._store().keys(self._production):
            for case in self._store().cases(key):
                if (case.request_id, case.row) in seen:
                    continue
                seen.add((case.request_id, case.row))
                if case.document["redacted"]:
                    self.redacted += 1
                else:
                    yield _request(case)


def export(environment: Environment, production: str, path: Path) -> tuple[int, int]:
    """Writes the kept rows as JSON lines; how many, and how many were left out because of redaction.

    Raises:
        StoreError: the store cannot be read.
        TrafficError: the file cannot be written.
    """
    kept, rows = KeptRows(environment, production), 0
    try:
        with path.open("wb") as file:
            for request in kept.requests():
                file.write(orjson.dumps(request) + b"\n")
                rows += 1
    except OSError as error:
        raise TrafficError(f"{path}: cannot be written: {error.strerror}") from error
    return rows, kept.redacted


def _request(case: Case) -> dict[str, Any]:
    inputs = case.document["inputs"]
    return {
        "request_id": case.request_id,
        "instances": [inputs[IMAGE] if isinstance(inputs.get(IMAGE), list) else inputs],
        "predictions": [case.document["production"]],
        "picked": True,
    }
