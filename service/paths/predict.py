"""The journey of one request: assign it to an arm, infer, quantify, hand the answer back, then settle.

Decoding before it and encoding after it belong to ``service.http``. What travels is in ``question``, how
sure an answer is in ``doubting``, what keeps a bad canary from callers in ``canary``. ``settle`` runs once
the answer is on its way: it hands the rows to the mirror and tallies, and whatever fails there is logged,
never raised.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Protocol

from service.domain.breaker import allows, failed, started, succeeded
from service.domain.canary import Rollout, in_canary
from service.domain.observation import Arm, Mirrored
from service.domain.passage import Fallback
from service.domain.schema import FeatureBatch, Scores, all_finite, label_indices
from service.errors import DeadlineError, InferenceError
from service.paths.canary import QUICK_SECONDS, Canary, Split
from service.paths.doubting import quantified, quantified_in_time, spared_rows, tally_domain
from service.paths.question import Answer, Question, Serving
from service.paths.steps import step

log = logging.getLogger("understudy.predict")

GRACE_SECONDS = 0.05
"""How long after its deadline a run that was told to stop is waited for."""


class Mirror(Protocol):
    """Takes answered rows for the shadow; never blocks, never raises."""

    def offer(self, item: Mirrored) -> None: ...


class PredictPath:
    """Answers requests from production, and a share of them from the canary.

    A canary runs in a thread until it has proven quick, so that one that hangs holds up nobody else.

    Args:
        production: the model that always can answer.
        mirror: the way to the shadow, or None without candidates.
        deadline: seconds for the whole request.
        canary_deadline: seconds after which production answers in the canary's place.
        fell_back: told whenever that happens.
    """

    def __init__(
        self,
        production: Serving,
        mirror: Mirror | None,
        *,
        deadline: float,
        canary_deadline: float,
        fell_back: Callable[[Fallback], None],
        seed: int | None = None,
    ) -> None:
        self.production = production
        self.split = Split(Rollout(), None)
        self._mirror = mirror
        self._deadline = deadline
        self._canary_deadline = canary_deadline
        self._fell_back = fell_back
        self._random = random.Random(seed)

    def decide(self, question: Question) -> Question:
        """The question with its arm drawn, where a canary is running; asked again it stays in that arm."""
        split = self.split
        if split.canary is None or question.arm is not None:
            return question
        return question._replace(arm=self._assign(split.rollout, question))

    def answer_here(self, question: Question) -> Answer | None:
        """The answer at once, or None where that takes longer than others should wait.

        Raises:
            DeadlineError: production did not answer in time.
            InferenceError: production failed.
        """
        model, canary = self.production, self.split.canary
        if not _is_short(question, model):  # it may have to answer in the canary's place
            return None
        if question.arm == "canary" and canary is not None:
            if not (canary.trusted and _is_short(question, canary.serving)):
                return None
            answer = self._ask_canary_here(canary, question)
            if answer is not None:
                return answer
        scores = _infer(question, model, "production", question.rows, question.start + self._deadline)
        return quantified(_answer(question, model, "production", scores), question)

    async def answer(self, question: Question) -> Answer:
        """The answer to one request.

        Raises:
            DeadlineError: production did not answer in time.
            InferenceError: production failed.
        """
        question = self.decide(question)
        answer = self.answer_here(question)
        if answer is not None:
            return answer
        canary = self.split.canary
        if question.arm == "canary" and canary is not None:
            answer = await self._ask_canary(canary, question)
            if answer is not None:
                return answer
            answer = self.answer_here(question._replace(arm="production"))
            if answer is not None:
                return answer
        due = question.start + self._deadline
        return await _answer_beside(question, self.production, "production", question.rows, due)

    def settle(self, question: Question, answer: Answer) -> None:
        """Everything that waits until the answer is sent: tally and mirror; never raises."""
        try:
            model, tally = answer.model, answer.model.tally
            for label in answer.labels:
                tally.labels[label] += 1
            tally.seconds.append(time.monotonic() - question.start)
            if answer.judged is not None or answer.quantified is not None:
                tally_domain(tally, answer)
            if self._mirror is not None:
                item = Mirrored(answer.request_id, model.answerer, question.rows, answer.scores)
                self._mirror.offer(item)
        except Exception:  # the caller has the answer; what follows it is ours alone
            log.exception("an answer could not be settled")

    def _assign(self, rollout: Rollout, question: Question) -> Arm:
        if question.routing_key is not None:
            chosen = in_canary(rollout, question.routing_key)
        else:
            chosen = self._random.randrange(10_000) < rollout.share_basis_points
        return "canary" if chosen else "production"

    async def _ask_canary(self, canary: Canary, question: Question) -> Answer | None:
        """The canary's answer, or None where production has to answer for it."""
        model = canary.serving
        now = time.monotonic()
        if not allows(canary.breaker, now):
            self._fell_back(Fallback(model.spec.tag, "breaker_open", question.request_id, now))
            return None
        canary.breaker = started(canary.breaker, now)
        try:
            rows = canary.project(question.rows)
            answer = await _answer_beside(question, model, "canary", rows, now + self._canary_deadline)
        except Exception as error:  # whatever it is, production answers
            canary.proven = 0
            self._failed(canary, question, error)
            return None
        done = time.monotonic()
        if len(rows) <= model.inline_rows:
            canary.took(done - now, here=False)
        canary.breaker = succeeded(canary.breaker, done)
        return answer

    def _ask_canary_here(self, canary: Canary, question: Question) -> Answer | None:
        """The same on the event loop, for a canary that has always been quick."""
        now = time.monotonic()
        try:
            rows = canary.project(question.rows)
            scores = _infer(question, canary.serving, "canary", rows, now + QUICK_SECONDS)
            answer = quantified(_answer(question, canary.serving, "canary", scores), question)
        except Exception as error:  # whatever it is, production answers
            self._failed(canary, question, error)
            return None
        finally:
            canary.took(time.monotonic() - now, here=True)
        return answer

    def _failed(self, canary: Canary, question: Question, error: Exception) -> None:
        now = time.monotonic()
        canary.breaker = failed(canary.breaker, now)
        reason = "deadline" if isinstance(error, DeadlineError) else "error"
        self._fell_back(Fallback(canary.serving.spec.tag, reason, question.request_id, now, error))


def _is_short(question: Question, model: Serving) -> bool:
    """Whether the event loop can wait for what ``model`` has to say."""
    rows = len(question.rows)
    return rows <= model.inline_rows and rows <= spared_rows(question, model)


async def _answer_beside(
    question: Question, model: Serving, arm: Arm, rows: FeatureBatch, due: float
) -> Answer:
    """The answer to ``rows``, the question's as ``model`` takes them, inferred in a thread.

    Raises:
        DeadlineError: the model did not answer in time.
        InferenceError: the model failed.
    """
    with step(question.steps, "infer", arm, model.spec.tag):
        scores = await _infer_in_thread(model, rows, due)
    return await quantified_in_time(_answer(question, model, arm, scores), question, due)


def _infer(question: Question, model: Serving, arm: Arm, rows: FeatureBatch, due: float) -> Scores:
    """The scores at once; raises as ``Serving.infer`` does."""
    if question.steps is None:
        return model.infer(rows, due)
    with question.steps.take("infer", arm, model.spec.tag):
        return model.infer(rows, due)


def _answer(question: Question, model: Serving, arm: Arm, scores: Scores) -> Answer:
    """The answer that ``scores`` make."""
    if not all_finite(scores):
        raise InferenceError(f"{model.spec.tag} answered a score that is not a number")
    return Answer(question.request_id, model, arm, scores, label_indices(model.spec, scores))


async def _infer_in_thread(model: Serving, rows: FeatureBatch, due: float) -> Scores:
    """The scores from a thread; a run that cannot be stopped is left alone there.

    Raises:
        DeadlineError: it did not answer in time.
        InferenceError: it failed.
    """
    try:
        async with asyncio.timeout(due - time.monotonic() + GRACE_SECONDS):
            return await model.infer_in_thread(rows, due)
    except TimeoutError as error:
        raise DeadlineError(f"{model.spec.tag} could not be stopped at its deadline") from error
