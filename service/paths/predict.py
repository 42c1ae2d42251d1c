"""The journey of one request: assign it to an arm, infer, hand the answer back, then settle.

Decoding before it and encoding after it belong to ``service.http``. ``settle`` runs once the answer
is on its way: it hands the rows to the mirror and tallies, and whatever fails there is logged,
never raised.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from service.domain.breaker import Breaker, allows, failed, started, succeeded
from service.domain.canary import Rollout, in_canary
from service.domain.explainers.document import Wish
from service.domain.observation import Arm, Mirrored
from service.domain.projection import Projection
from service.domain.schema import FeatureBatch, ModelSpec, Scores, all_finite, label_indices
from service.errors import DeadlineError, InferenceError

log = logging.getLogger("understudy.predict")

GRACE_SECONDS = 0.05
"""How long after its deadline a run that was told to stop is waited for."""


class Question(NamedTuple):
    """A validated request; a tuple because one is made per request."""

    request_id: str
    rows: FeatureBatch
    routing_key: str | None
    """Decides the arm; None draws anew for each request."""
    arm: Arm | None
    """The arm that an operator asked for, or None."""
    start: float
    """``time.monotonic()`` seconds at which the request was complete."""
    format: object = None
    """How the caller wants the answer written; means something to its protocol alone."""
    wish: Wish | None = None
    """What is to be explained about the answer, where anything is."""


class Tally(Protocol):
    """Counts of one arm; written to on the hot path, moved elsewhere later."""

    @property
    def labels(self) -> list[int]: ...

    @property
    def seconds(self) -> list[float]: ...


class Mirror(Protocol):
    """Takes answered rows for the shadow; never blocks, never raises."""

    def offer(self, item: Mirrored) -> None: ...


class Explained(NamedTuple):
    """Explanations of all rows of a request."""

    method: str
    seconds: float
    documents: list[bytes]
    """JSON of each row's."""


class Sheet(NamedTuple):
    """A picture or a page in place of the usual answer."""

    body: bytes
    content_type: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Serving:
    """A loaded model that may answer callers; equal only to itself."""

    spec: ModelSpec
    infer: Callable[[FeatureBatch, float], Scores]
    """Runs here and now, until ``due`` at most."""
    infer_in_thread: Callable[[FeatureBatch, float], Awaitable[Scores]]
    """The same beside the event loop."""
    inline_rows: int
    """Up to so many rows an inference is short enough for the event loop."""
    tally: Tally
    explain: Callable[[FeatureBatch, Scores, Wish], Explained | None] | None = None
    """Explains answered rows about as fast as they were inferred; None where that cannot be done."""
    explain_rows: int = 1
    """So many rows are explained in a time that the event loop can spare."""


class Answer(NamedTuple):
    """What is said to the caller."""

    request_id: str
    model: Serving
    arm: Arm
    scores: Scores
    labels: list[int]
    """Index into ``model.spec.classes`` of each row."""
    explanations: Sequence[bytes] = ()
    """JSON of each row's explanation, where they were asked for."""
    sheet: Sheet | None = None


@dataclass(slots=True)
class Canary:
    """A candidate that may answer, with the breaker that protects callers from it."""

    serving: Serving
    project: Projection
    breaker: Breaker


@dataclass(frozen=True, slots=True)
class Split:
    """The canary split in force; replaced as a whole when the configuration changes."""

    rollout: Rollout
    canary: Canary | None
    """Present where ``rollout`` is active."""


class PredictPath:
    """Answers requests from production, and a share of them from the canary.

    Args:
        production: the model that always can answer.
        mirror: the way to the shadow, or None without candidates.
        deadline: seconds for the whole request.
        canary_deadline: seconds after which production answers in the canary's place.
        fell_back: told (candidate, reason) whenever that happens.
    """

    def __init__(
        self,
        production: Serving,
        mirror: Mirror | None,
        *,
        deadline: float,
        canary_deadline: float,
        fell_back: Callable[[str, str], None],
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
        """Production's answer at once, or None where the canary is to answer or it takes longer.

        Raises:
            DeadlineError: production did not answer in time.
            InferenceError: production failed.
        """
        model = self.production
        if question.arm == "canary" or len(question.rows) > model.inline_rows:
            return None
        return _answer(
            question, model, "production", model.infer(question.rows, question.start + self._deadline)
        )

    async def answer(self, question: Question) -> Answer:
        """The answer to one request.

        Raises:
            DeadlineError: production did not answer in time.
            InferenceError: production failed.
        """
        question = self.decide(question)
        canary = self.split.canary
        if question.arm == "canary":
            answer = await self._ask_canary(canary, question) if canary is not None else None
            if answer is not None:
                return answer
            question = question._replace(arm="production")
        answer = self.answer_here(question)
        if answer is not None:
            return answer
        model = self.production
        scores = await _infer_in_thread(model, question.rows, question.start + self._deadline)
        return _answer(question, model, "production", scores)

    def settle(self, question: Question, answer: Answer) -> None:
        """Everything that waits until the answer is sent: tally and mirror; never raises."""
        try:
            tally = answer.model.tally
            for label in answer.labels:
                tally.labels[label] += 1
            tally.seconds.append(time.monotonic() - question.start)
            if self._mirror is not None:
                self._mirror.offer(Mirrored(answer.request_id, answer.arm, question.rows, answer.scores))
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
            self._fell_back(model.spec.tag, "breaker_open")
            return None
        canary.breaker = started(canary.breaker, now)
        try:
            scores = await _infer_in_thread(model, canary.project(question.rows), now + self._canary_deadline)
            answer = _answer(question, model, "canary", scores)
        except Exception as error:  # whatever it is, production answers
            if not isinstance(error, InferenceError):
                log.exception("canary %s", model.spec.tag)
            canary.breaker = failed(canary.breaker, time.monotonic())
            self._fell_back(model.spec.tag, "deadline" if isinstance(error, DeadlineError) else "error")
            return None
        canary.breaker = succeeded(canary.breaker, time.monotonic())
        return answer


def _answer(question: Question, model: Serving, arm: Arm, scores: Scores) -> Answer:
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
