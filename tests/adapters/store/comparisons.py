"""Batches of evidence for the tests of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from service.domain.evidence.books import AGREEMENT, LABELLED, Books, Key, Page
from service.domain.evidence.cases import Case, Kind
from service.domain.evidence.paired import Answers, Batch, LabelledAnswers, Pairing, Settled
from tests.adapters.store.answers import THEN

ALL, YOUNG = Page(AGREEMENT, "all"), Page(AGREEMENT, "young")
JUDGED = Page(LABELLED, "all")


def key(candidate: str = "credit:2", digest: str = "0" * 32) -> Key:
    return Key("credit:1", candidate, digest)


CREDIT = Pairing(key(), "binary", ("bad", "good"), ("young", "rent"))
OTHER = Pairing(key("credit:3"), "binary", ("bad", "good"), ())
HOUSES = Pairing(Key("houses:1", "houses:2", "1" * 32), "regression", (), ())


def batch(
    number: int,
    hours: Mapping[int, Mapping[Page, Sequence[float]]] | None = None,
    *,
    writer: str = "a" * 32,
    pairing: Pairing = CREDIT,
    cases: Sequence[Case] = (),
    answers: Sequence[Answers] = (),
) -> Batch:
    books: dict[int, Books] = {
        hour: {page: np.array(sums, dtype=np.float64) for page, sums in pages.items()}
        for hour, pages in (hours or {}).items()
    }
    return Batch(writer, number, pairing, books, tuple(cases), tuple(answers))


def case(
    rank: float, name: str = "a", *, kind: Kind = "worst", where: str = "all", row: int = 0, at: float = THEN
) -> Case:
    return Case(kind, where, rank, name, row, at, {"severity": -rank, "inputs": {"Näme": None}})


def answers(
    name: str,
    rows: int = 1,
    *,
    first: int = 0,
    total: int = 0,
    pairing: Pairing = CREDIT,
    at: float = THEN,
    salt: float = 0.0,
) -> Answers:
    """Answers whose last score tells the row: production's counts up, the candidate's down."""
    place = np.arange(first, first + rows, dtype=np.float32) + np.float32(salt)
    before, after = place[:, None], -place[:, None]
    if pairing.classes:
        before, after = np.hstack([1 - before, before]), np.hstack([1 - after, after])
    bits = np.arange(first, first + rows, dtype=np.uint32) % 4 if pairing.slices else None
    return Answers(name, first, total or rows, at, before, after, bits)


class Judge:
    """Counts the rows that it is given, as evidence; remembers every batch."""

    def __init__(self) -> None:
        self.seen: list[LabelledAnswers] = []
        self.unknown: set[Key] = set()

    def knows(self, key: Key) -> bool:
        return key not in self.unknown

    def __call__(self, found: Sequence[LabelledAnswers]) -> list[Settled]:
        self.seen += found
        return [
            Settled(one.pairing.key, one.hour, {JUDGED: np.array([len(one.labels)], dtype=np.float64)})
            for one in found
        ]

    @property
    def rows(self) -> list[tuple[str, int, float]]:
        """Candidate, row and label of everything, in order."""
        return sorted(
            (one.pairing.key.candidate, round(float(before[-1])), float(label))
            for one in self.seen
            for before, label in zip(one.before, one.labels, strict=True)
        )


def total(books: Mapping[Page, NDArray[np.float64]], page: Page) -> list[float]:
    return [float(value) for value in books[page]]
