"""The journey's step that says how sure an answer is, and takes back labels that are not to be relied on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from service.domain.abstention import abstain
from service.domain.schema import Scores
from service.domain.uncertainty.measure import Unfitting
from service.domain.uncertainty.quantifier import Doubt, Quantified
from service.errors import DeadlineError
from service.paths.question import Answer, Question, Serving, Tally
from service.paths.steps import step

AS_DECLARED = Doubt()
"""What the manifest declares, and nothing else."""


class _Doubts(NamedTuple):
    """How sure the answers to some rows are."""

    asked: Quantified | None
    """As the caller wants to know it."""
    judged: Quantified | None
    """As the manifest has it, by which labels are taken back; None for a model that never abstains."""


def spared_rows(question: Question, model: Serving) -> int:
    """So many rows are quantified in a time that the event loop can spare."""
    doubting = model.doubting
    if doubting is None or not _in_doubt(question, model):
        return len(question.rows)
    if doubting.beside is not None:
        return 0
    return doubting.rows_extra if question.doubt is not None and question.doubt.extra else doubting.rows


def quantified(answer: Answer, question: Question) -> Answer:
    """The answer with how sure it is, where that is wanted or decides about labels."""
    if not _in_doubt(question, answer.model):
        return answer
    with step(question.steps, "quantify", answer.arm, answer.model.spec.tag):
        return _with_doubts(answer, _quantify(question, answer.model, answer.scores, slice(None)))


async def quantified_in_time(answer: Answer, question: Question, due: float) -> Answer:
    """The same without holding up other requests for longer than they should wait.

    Raises:
        DeadlineError: time ran out.
    """
    if len(question.rows) <= spared_rows(question, answer.model):
        return quantified(answer, question)
    with step(question.steps, "quantify", answer.arm, answer.model.spec.tag):
        return await _quantified_beside(answer, question, due)


async def _quantified_beside(answer: Answer, question: Question, due: float) -> Answer:
    doubting = answer.model.doubting
    if doubting is None or doubting.beside is None:
        return _with_doubts(answer, await _quantify_in_turns(question, answer, due))
    work = partial(_quantify, question, answer.model, answer.scores, slice(None))
    try:
        async with asyncio.timeout(due - time.monotonic()):
            return _with_doubts(answer, await doubting.beside(work))
    except TimeoutError as error:
        raise DeadlineError(f"{answer.model.spec.tag} was not quantified before the deadline") from error


def tally_domain(tally: Tally, answer: Answer) -> None:
    """Counts the answer's rows by whether the training data had any like them, where that is known."""
    judged = answer.judged or answer.quantified
    inside = None if judged is None else judged.columns.get("in_domain")
    if inside is not None:
        known = int(np.count_nonzero(inside))
        tally.domain[0] += known
        tally.domain[1] += len(inside) - known


def _in_doubt(question: Question, model: Serving) -> bool:
    return question.doubt is not None or (model.doubting is not None and model.doubting.abstains)


def _quantify(question: Question, model: Serving, scores: Scores, part: slice) -> _Doubts:
    doubting = model.doubting
    if doubting is None:
        return _Doubts(None, None)
    rows, scores = question.rows[part], scores[part]
    judged = doubting.quantify(rows, scores, AS_DECLARED) if doubting.abstains else None
    if question.doubt is None:
        return _Doubts(None, judged)
    if judged is not None and question.doubt == AS_DECLARED:
        return _Doubts(judged, judged)
    try:
        return _Doubts(doubting.quantify(rows, scores, question.doubt), judged)
    except Unfitting:  # a canary's bundle need not have every measure that production's has
        return _Doubts(None, judged)


def _with_doubts(answer: Answer, doubts: _Doubts) -> Answer:
    doubting, labels = answer.model.doubting, answer.labels
    if doubting is not None and doubts.judged is not None:
        columns = doubts.judged.columns
        ambiguous = columns["set"].sum(axis=1) != 1 if doubting.ambiguous else None
        strange = ~columns["in_domain"] if doubting.out_of_domain else None
        labels = abstain(answer.model.spec, labels, ambiguous, strange)
    return answer._replace(labels=labels, quantified=doubts.asked, judged=doubts.judged)


async def _quantify_in_turns(question: Question, answer: Answer, due: float) -> _Doubts:
    """The same as ``_quantify``, a few rows at a time, so that other requests are answered in between.

    Raises:
        DeadlineError: time ran out.
    """
    step, count = max(1, spared_rows(question, answer.model)), len(answer.scores)
    parts: list[_Doubts] = []
    for start in range(0, count, step):
        if start and time.monotonic() > due:
            raise DeadlineError(f"{start} of {count} rows were quantified before the deadline")
        parts.append(_quantify(question, answer.model, answer.scores, slice(start, start + step)))
        await asyncio.sleep(0)
    return _Doubts(_joined([part.asked for part in parts]), _joined([part.judged for part in parts]))


def _joined(parts: Sequence[Quantified | None]) -> Quantified | None:
    """What was found out about consecutive rows, as one."""
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    columns = {name: np.concatenate([part.columns[name] for part in found]) for name in found[0].columns}
    degraded = next((part.degraded for part in found if part.degraded is not None), None)
    return found[0]._replace(columns=columns, degraded=degraded)
