"""Reads documents in which anything may be absent: the evidence grows while the page is looked at.

What is not there, or is not what it should be, is None; nothing here raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

Document: TypeAlias = Mapping[str, Any]

LARGEST = 1e100
LONGEST = 200
"""Characters that are shown of any one text."""


def at(document: Any, *path: str) -> Any:
    """What lies at the end of ``path``, or None."""
    for key in path:
        if not isinstance(document, Mapping):
            return None
        document = document.get(key)
    return document


def mapping(document: Any, *path: str) -> Document:
    """The mapping there, empty where there is none."""
    found = at(document, *path)
    return found if isinstance(found, Mapping) else {}


def entries(document: Any, *path: str) -> list[Document]:
    """The mappings in the list there."""
    found = at(document, *path)
    if not isinstance(found, Sequence) or isinstance(found, str | bytes):
        return []
    return [entry for entry in found if isinstance(entry, Mapping)]


def real(document: Any, *path: str) -> float | None:
    """The number there; one that no quantity can have is none."""
    found = at(document, *path)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    try:
        number = float(found)
    except OverflowError:
        return None
    return number if abs(number) <= LARGEST else None


def whole(document: Any, *path: str) -> int | None:
    """The number there without its fraction."""
    number = real(document, *path)
    return None if number is None else int(number)


def text(document: Any, *path: str) -> str | None:
    """The text there, cut where it is longer than ``LONGEST``; numbers and truths are written out."""
    found = at(document, *path)
    if found is None or isinstance(found, Mapping | list | tuple):
        return None
    said = str(found)[: LONGEST + 1]
    return said if len(said) <= LONGEST else said[:LONGEST].rstrip() + "…"


def moment(document: Any, *path: str) -> datetime | None:
    """The ISO 8601 time there, in UTC; one without a zone is taken to be in UTC."""
    found = at(document, *path)
    if not isinstance(found, str):
        return None
    try:
        read = datetime.fromisoformat(found)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
