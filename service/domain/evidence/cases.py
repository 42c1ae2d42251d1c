"""Single rows worth a look: the worst disagreements, and a fair sample of each slice.

A case is a document, because what it holds is for people: inputs after redaction, both answers, both
explanations. What is kept of many is decided by ``rank`` alone, so that replicas, restarts and merges agree:
``worst`` keeps the largest severities; a ``sample`` keeps the smallest of numbers that are drawn from the
request's name, which is a uniform sample without replacement of any union (bottom-k sketch, Cohen & Kaplan
2007).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["worst", "sample"]


@dataclass(frozen=True, slots=True)
class Case:
    """One compared row."""

    kind: Kind
    slice: str
    """``all`` for the worst; the slice that a sample is of."""
    rank: float
    """Smaller is kept first: minus the severity, or the number drawn."""
    request_id: str
    row: int
    """Of the request, from 0."""
    at: float
    """Seconds since 1970."""
    document: Mapping[str, Any]
    """Ready for JSON: ``inputs``, ``production``, ``candidate``, ``explanations``, ``severity``; redacted."""
