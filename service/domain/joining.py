"""Brings labels and the answers that they belong to together, each pair once, in whatever order they come.

A request's answer may be stored in parts, its labels may come in several deliveries, and of each candidate
that was asked as well there are both models' answers, in parts of their own. Each part remembers up to which
number it has met deliveries, so that any part meets any delivery, and meets it once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.domain.evidence.books import Key
from service.domain.evidence.paired import Kept, LabelledAnswers, Pairing
from service.domain.labels import Answerer, Delivery, Labelled, Record, misfits

HOUR = 3_600
"""Seconds."""

P = TypeVar("P", Record, Kept)


class Match(NamedTuple, Generic[P]):
    """Rows of one part whose truth one delivery tells."""

    part: P
    delivery: Delivery
    rows: list[int]
    """Positions within the part."""


class Matched(NamedTuple):
    """What deliveries and answers have to say to each other."""

    matches: tuple[Match[Record], ...]
    pairs: tuple[Match[Kept], ...]
    """The same of both models' answers, once for each pairing."""
    seen: dict[int, int]
    """Record to the number that it is joined with all deliveries below now, for records where that grew."""
    seen_pairs: dict[int, int]
    """The same of both models' answers."""
    waiting: tuple[int, ...]
    """Deliveries that some part of their request's record is still missing for."""
    done: tuple[int, ...]
    """Deliveries that no record can be joined with any more; both models' answers may still come."""
    misfits: tuple[int, ...]
    """Those among ``done`` that turned out now not to fit their request."""


def match(records: Iterable[Record], deliveries: Iterable[Delivery], kept: Iterable[Kept] = ()) -> Matched:
    """Brings labels and the answers they belong to together, each pair once.

    Args:
        records: all records of the requests concerned.
        deliveries: of the same requests, all that some record or some of ``kept`` was not joined with.
        kept: all of what both models of any pairing answered to the same requests.
    """
    told: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in sorted(deliveries, key=lambda delivery: delivery.id):
        told[delivery.request_id].append(delivery)
    parts: dict[str, list[_Place[Record]]] = defaultdict(list)
    for record in records:
        parts[record.request_id].append(_record(record))
    pairs: dict[str, dict[Key, list[_Place[Kept]]]] = defaultdict(lambda: defaultdict(list))
    for each in kept:
        pairs[each.answers.request_id][each.pairing.key].append(_kept(each))
    found: list[Match[Record]] = []
    both: list[Match[Kept]] = []
    seen: dict[int, int] = {}
    seen_pairs: dict[int, int] = {}
    waiting: list[int] = []
    done: list[int] = []
    bad: list[int] = []
    for name, here in told.items():
        for group in pairs[name].values():
            both += _meet(_of_one_answer(group), here, seen_pairs)
        answers = _of_one_answer(parts[name])
        names = [delivery.id for delivery in here]
        if not answers or sum(place.rows for place in answers) < answers[0].total:
            waiting += names
        else:
            done += names
            bad += [delivery.id for delivery in here if _is_found_unfit(delivery, answers)]
        found += _meet(answers, here, seen)
    return Matched(
        tuple(sorted(found, key=_order)),
        tuple(sorted(both, key=_order)),
        seen,
        seen_pairs,
        tuple(waiting),
        tuple(done),
        tuple(bad),
    )


def labelled(matches: Sequence[Match[Record]]) -> tuple[Labelled, ...]:
    """The rows of all matches, one batch for each model in each role."""
    groups: dict[tuple[Answerer, int], list[Match[Record]]] = defaultdict(list)
    for found in matches:
        evidence = found.part.evidence
        groups[found.part.answerer, -1 if evidence is None else evidence.shape[1]].append(found)
    return tuple(_batch(who, width, group) for (who, width), group in groups.items())


def labelled_answers(matches: Sequence[Match[Kept]]) -> tuple[LabelledAnswers, ...]:
    """The rows of all matches, one batch for each pairing and hour in which labels came."""
    groups: dict[tuple[Pairing, int], list[Match[Kept]]] = defaultdict(list)
    for found in matches:
        groups[found.part.pairing, int(found.delivery.labelled_at // HOUR)].append(found)
    return tuple(
        LabelledAnswers(
            pairing=pairing,
            before=np.concatenate([found.part.answers.before[found.rows] for found in group]),
            after=np.concatenate([found.part.answers.after[found.rows] for found in group]),
            labels=_truth(pairing.classes, group, lambda kept: kept.answers.first),
            slices=np.concatenate([_slices(found.part.answers.slices, found.rows) for found in group]),
            hour=hour,
        )
        for (pairing, hour), group in groups.items()
    )


class _Place(NamedTuple, Generic[P]):
    """A part, and what decides whether labels belong to it."""

    part: P
    who: Answerer | Pairing
    first: int
    rows: int
    total: int
    joined: int
    id: int


def _record(part: Record) -> _Place[Record]:
    return _Place(part, part.answerer, part.first, len(part.scores), part.total, part.joined, part.id)


def _kept(part: Kept) -> _Place[Kept]:
    answers = part.answers
    return _Place(part, part.pairing, answers.first, len(answers.before), answers.total, part.joined, part.id)


def _meet(
    answers: Sequence[_Place[P]], deliveries: Sequence[Delivery], seen: dict[int, int]
) -> list[Match[P]]:
    """The matches of one answer; notes in ``seen`` which parts have met more deliveries now."""
    matches: list[Match[P]] = []
    for place in answers:
        fresh = [delivery for delivery in deliveries if delivery.number >= place.joined]
        if fresh:
            seen[place.id] = max(delivery.number for delivery in fresh) + 1
        end = place.first + place.rows
        for delivery in fresh:
            if _fits(delivery, place):
                rows = sorted(row - place.first for row in delivery.labels if place.first <= row < end)
                if rows:
                    matches.append(Match(place.part, delivery, rows))
    return matches


def _of_one_answer(places: Iterable[_Place[P]]) -> list[_Place[P]]:
    """Those that belong to the request's first answer, each row once; an id may have been used again."""
    mine: list[_Place[P]] = []
    for place in sorted(places, key=lambda place: (place.joined == 0, place.id)):
        if mine and (place.total, place.who) != (mine[0].total, mine[0].who):
            continue
        if all(place.first >= one.first + one.rows or one.first >= place.first + place.rows for one in mine):
            mine.append(place)
    return mine


def _fits(delivery: Delivery, place: _Place[P]) -> bool:
    """Whether these labels can be about that answer: they may be older, or meant for another model."""
    told = tuple(delivery.labels.values())
    return delivery.total == place.total and not misfits(place.who.task, place.who.classes, told)


def _is_found_unfit(delivery: Delivery, answers: Sequence[_Place[P]]) -> bool:
    """Whether it does not fit, which was not known before: it may be looked at again for a candidate."""
    return any(delivery.number >= place.joined for place in answers) and not _fits(delivery, answers[0])


def _order(found: Match[P]) -> int:
    return found.delivery.id


def _batch(who: Answerer, width: int, group: Sequence[Match[Record]]) -> Labelled:
    scores = np.concatenate([found.part.scores[found.rows] for found in group])
    counts = [len(found.rows) for found in group]
    return Labelled(
        answerer=who,
        scores=scores,
        labels=_truth(who.classes, group, lambda record: record.first),
        predicted=who.predicted(scores),
        evidence=None if width < 0 else np.concatenate([_evidence(found) for found in group]),
        slices=np.concatenate([_slices(found.part.slices, found.rows) for found in group]),
        answered_at=np.repeat([found.part.answered_at for found in group], counts),
        labelled_at=np.repeat([found.delivery.labelled_at for found in group], counts),
    )


def _truth(
    classes: Sequence[str], group: Sequence[Match[P]], first: Callable[[P], int]
) -> NDArray[np.intp] | NDArray[np.float64]:
    told = [found.delivery.labels[first(found.part) + row] for found in group for row in found.rows]
    if not classes:
        return np.array(told, dtype=np.float64)
    code = {name: index for index, name in enumerate(classes)}
    return np.array([code[str(label)] for label in told], dtype=np.intp)


def _evidence(found: Match[Record]) -> NDArray[np.float64]:
    assert found.part.evidence is not None
    return found.part.evidence[found.rows]


def _slices(bits: NDArray[np.uint32] | None, rows: list[int]) -> NDArray[np.uint32]:
    return np.zeros(len(rows), dtype=np.uint32) if bits is None else bits[rows]
