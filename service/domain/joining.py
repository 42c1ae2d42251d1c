"""Brings labels and the answers that they belong to together, each pair once, in whatever order they come.

A request's answer may be recorded in parts, and its labels may come in several deliveries. Each record
remembers up to which number it has met deliveries, so that any part meets any delivery, and meets it once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.domain.labels import Answerer, Delivery, Labelled, Record, misfits


class Match(NamedTuple):
    """Rows of one record whose truth one delivery tells."""

    record: Record
    delivery: Delivery
    rows: list[int]
    """Positions within the record."""


class Matched(NamedTuple):
    """What deliveries and records have to say to each other."""

    matches: tuple[Match, ...]
    seen: dict[int, int]
    """Record to the number that it is joined with all deliveries below now, for records where that grew."""
    waiting: tuple[int, ...]
    """Deliveries that some part of their request is still missing for."""
    done: tuple[int, ...]
    """Deliveries that nothing more can be joined with."""
    misfits: tuple[int, ...]
    """Those among ``done`` that do not fit their request."""


def match(records: Iterable[Record], deliveries: Iterable[Delivery]) -> Matched:
    """Brings labels and the answers they belong to together, each pair once.

    Args:
        records: all records of the requests concerned.
        deliveries: of the same requests, all that are not done.
    """
    parts: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.id):
        parts[record.request_id].append(record)
    told: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in sorted(deliveries, key=lambda delivery: delivery.id):
        told[delivery.request_id].append(delivery)
    matches: list[Match] = []
    seen: dict[int, int] = {}
    waiting: list[int] = []
    done: list[int] = []
    bad: list[int] = []
    for name, told_here in told.items():
        answers = _of_one_answer(parts.get(name, []))
        names = [delivery.id for delivery in told_here]
        if not answers:
            waiting += names
            continue
        total = answers[0].total
        whole = sum(len(record.scores) for record in answers) >= total
        (done if whole else waiting).extend(names)
        bad += [delivery.id for delivery in told_here if whole and not _fits(delivery, answers[0])]
        for record in answers:
            fresh = [delivery for delivery in told_here if delivery.number >= record.joined]
            if fresh:
                seen[record.id] = max(delivery.number for delivery in fresh) + 1
            end = record.first + len(record.scores)
            for delivery in fresh:
                if _fits(delivery, record):
                    rows = sorted(row - record.first for row in delivery.labels if record.first <= row < end)
                    if rows:
                        matches.append(Match(record, delivery, rows))
    matches.sort(key=lambda found: found.delivery.id)
    return Matched(tuple(matches), seen, tuple(waiting), tuple(done), tuple(bad))


def labelled(matches: Sequence[Match]) -> tuple[Labelled, ...]:
    """The rows of all matches, one batch for each model in each role."""
    groups: dict[tuple[Answerer, int], list[Match]] = defaultdict(list)
    for found in matches:
        evidence = found.record.evidence
        groups[found.record.answerer, -1 if evidence is None else evidence.shape[1]].append(found)
    return tuple(_batch(who, width, group) for (who, width), group in groups.items())


def _batch(who: Answerer, width: int, group: Sequence[Match]) -> Labelled:
    scores = np.concatenate([found.record.scores[found.rows] for found in group])
    code = {name: index for index, name in enumerate(who.classes)}
    told = [found.delivery.labels[found.record.first + row] for found in group for row in found.rows]
    labels: NDArray[np.intp] | NDArray[np.float64]
    if who.classes:
        labels = np.array([code[str(label)] for label in told], dtype=np.intp)
    else:
        labels = np.array(told, dtype=np.float64)
    counts = [len(found.rows) for found in group]
    none = np.zeros(max(counts), dtype=np.uint32)
    return Labelled(
        answerer=who,
        scores=scores,
        labels=labels,
        predicted=who.predicted(scores),
        evidence=None if width < 0 else np.concatenate([_evidence(found) for found in group]),
        slices=np.concatenate(
            [
                none[: len(found.rows)] if found.record.slices is None else found.record.slices[found.rows]
                for found in group
            ]
        ),
        answered_at=np.repeat([found.record.answered_at for found in group], counts),
        labelled_at=np.repeat([found.delivery.labelled_at for found in group], counts),
    )


def _evidence(found: Match) -> NDArray[np.float64]:
    assert found.record.evidence is not None
    return found.record.evidence[found.rows]


def _of_one_answer(records: Sequence[Record]) -> list[Record]:
    """Those that belong to the request's first answer; a request id may have been used again."""
    return [
        record
        for record in records
        if (record.total, record.answerer) == (records[0].total, records[0].answerer)
    ]


def _fits(delivery: Delivery, record: Record) -> bool:
    """Whether these labels can be about that answer: they may be older, or meant for another model."""
    who = record.answerer
    told = tuple(delivery.labels.values())
    return delivery.total == record.total and not misfits(who.task, who.classes, told)
