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

import numpy as np

from service.domain.abstention import abstain
from service.domain.breaker import Breaker, allows, failed, started, succeeded
from service.domain.canary import Rollout, in_canary
from service.domain.explainers.document import Wish
from service.domain.observation import Arm, Mirrored
from service.domain.projection import Projection
from service.domain.schema import FeatureBatch, ModelSpec, Scores, all_finite, label_indices
from service.domain.uncertainty.measure import Unfitting
from service.domain.uncertainty.quantifier import Doubt, Quantified
from service.errors import DeadlineError, InferenceError

log = logging.getLogger("understudy.predict")

AS_DECLARED = Doubt()
"""What the manifest declares, and nothing else."""
PROVEN_RUNS = 50
"""Quick runs after which a canary needs no thread, which costs a request more than its inference does."""
QUICK_SECONDS = 0.02
"""The longest that the event loop waits for a canary."""
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
    doubt: Doubt | None = None
    """What is to be said about how sure the answer is, where anything is."""
    warnings: bytes = b""
    """What the answer says about rows unlike training's: JSON objects with commas between them."""


class Tally(Protocol):
    """Counts of one arm; written to on the hot path, moved elsewhere later."""

    @property
    def labels(self) -> list[int]: ...

    @property
    def seconds(self) -> list[float]: ...

    @property
    def domain(self) -> list[int]:
        """Rows in domain, and rows out of it."""


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


@dataclass(frozen=True, slots=True)
class Doubting:
    """How sure a model's answers are."""

    quantify: Callable[[FeatureBatch, Scores, Doubt], Quantified]
    rows: int
    """So many rows are quantified in a time that the event loop can spare, at least 1."""
    rows_extra: int
    """The same where more is asked for than is said by default."""
    ambiguous: bool = False
    """Whether a set that does not hold exactly one label is not answered with one."""
    out_of_domain: bool = False
    """Whether a row that the training data had nothing like is not answered with a label."""

    @property
    def abstains(self) -> bool:
        """Whether some answers may name no label."""
        return self.ambiguous or self.out_of_domain


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
    doubting: Doubting | None = None
    """None for a bundle without measures of uncertainty."""
    answerer: int = 0
    """Its number in records: 0 is production, i the i-th candidate of the configuration."""


class Answer(NamedTuple):
    """What is said to the caller."""

    request_id: str
    model: Serving
    arm: Arm
    scores: Scores
    labels: list[int]
    """Index into ``model.spec.classes`` of each row, or behind it: see ``service.domain.abstention``."""
    explanations: Sequence[bytes] = ()
    """JSON of each row's explanation, where they were asked for."""
    sheet: Sheet | None = None
    quantified: Quantified | None = None
    """How sure it is, where that was asked for."""
    judged: Quantified | None = None
    """The same as the manifest has it, where it decides about the labels."""


@dataclass(slots=True)
class Canary:
    """A candidate that may answer, with the breaker that protects callers from it."""

    serving: Serving
    project: Projection
    breaker: Breaker
    proven: int = 0
    """Quick runs in a row, up to ``PROVEN_RUNS``: then it is run on the event loop, as production is."""
    dawdled: bool = False
    """Whether it once took long there, after which it never runs there again."""

    def may_run_here(self, question: Question) -> bool:
        """Whether the event loop can wait for the canary's answer."""
        rows = len(question.rows)
        return (
            self.proven >= PROVEN_RUNS
            and not self.breaker.failures
            and rows <= self.serving.inline_rows
            and rows <= _spared_rows(question, self.serving)
        )

    def took(self, seconds: float, *, here: bool) -> None:
        """Learns how long one run took, on the event loop or beside it."""
        if seconds > QUICK_SECONDS:
            self.proven = 0
            self.dawdled = self.dawdled or here
        elif self.proven < PROVEN_RUNS and not self.dawdled:
            self.proven += 1


@dataclass(frozen=True, slots=True)
class Split:
    """The canary split in force; replaced as a whole when the configuration changes."""

    rollout: Rollout
    canary: Canary | None
    """Present where ``rollout`` is active."""


class PredictPath:
    """Answers requests from production, and a share of them from the canary.

    A canary runs in a thread until it has proven quick, so that one that hangs holds up nobody else.

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
        """The answer at once, or None where that takes longer than others should wait.

        Raises:
            DeadlineError: production did not answer in time.
            InferenceError: production failed.
        """
        canary = self.split.canary
        if question.arm == "canary" and canary is not None:
            if not canary.may_run_here(question):
                return None
            answer = self._ask_canary_here(canary, question)
            if answer is not None:
                return answer
            question = question._replace(arm="production")
        model = self.production
        rows = len(question.rows)
        if rows > model.inline_rows or rows > _spared_rows(question, model):
            return None
        scores = model.infer(question.rows, question.start + self._deadline)
        return _answer(question, model, "production", scores)

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
            judged = answer.judged or answer.quantified
            if judged is not None:
                _tally_domain(tally, judged)
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
            self._fell_back(model.spec.tag, "breaker_open")
            return None
        canary.breaker = started(canary.breaker, now)
        try:
            rows = canary.project(question.rows)
            answer = await _answer_beside(question, model, "canary", rows, now + self._canary_deadline)
        except Exception as error:  # whatever it is, production answers
            self._failed(canary, error)
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
            scores = canary.serving.infer(canary.project(question.rows), now + QUICK_SECONDS)
            answer = _answer(question, canary.serving, "canary", scores)
        except Exception as error:  # whatever it is, production answers
            self._failed(canary, error)
            return None
        finally:
            canary.took(time.monotonic() - now, here=True)
        return answer

    def _failed(self, canary: Canary, error: Exception) -> None:
        tag = canary.serving.spec.tag
        if not isinstance(error, InferenceError):
            log.error("canary %s", tag, exc_info=error)
        canary.breaker = failed(canary.breaker, time.monotonic())
        self._fell_back(tag, "deadline" if isinstance(error, DeadlineError) else "error")


def _tally_domain(tally: Tally, quantified: Quantified) -> None:
    inside = quantified.columns.get("in_domain")
    if inside is not None:
        known = int(np.count_nonzero(inside))
        tally.domain[0] += known
        tally.domain[1] += len(inside) - known


async def _answer_beside(
    question: Question, model: Serving, arm: Arm, rows: FeatureBatch, due: float
) -> Answer:
    """The answer to ``rows``, the question's as ``model`` takes them, inferred in a thread.

    Raises:
        DeadlineError: the model did not answer in time.
        InferenceError: the model failed.
    """
    scores = await _infer_in_thread(model, rows, due)
    if len(question.rows) <= _spared_rows(question, model):
        return _answer(question, model, arm, scores)
    answer = _plain(question, model, arm, scores)
    return _with_doubt(answer, await _quantify_in_turns(question, model, scores, due))


def _answer(question: Question, model: Serving, arm: Arm, scores: Scores) -> Answer:
    """The answer that ``scores`` make, with how sure it is where that is wanted or decides about labels."""
    answer = _plain(question, model, arm, scores)
    if not _in_doubt(question, model):
        return answer
    return _with_doubt(answer, _quantify(question, model, scores, slice(None)))


def _plain(question: Question, model: Serving, arm: Arm, scores: Scores) -> Answer:
    if not all_finite(scores):
        raise InferenceError(f"{model.spec.tag} answered a score that is not a number")
    return Answer(question.request_id, model, arm, scores, label_indices(model.spec, scores))


class _Doubts(NamedTuple):
    """How sure the answers to some rows are."""

    asked: Quantified | None
    """As the caller wants to know it."""
    judged: Quantified | None
    """As the manifest has it, by which labels are taken back; None for a model that never abstains."""


def _in_doubt(question: Question, model: Serving) -> bool:
    return question.doubt is not None or (model.doubting is not None and model.doubting.abstains)


def _spared_rows(question: Question, model: Serving) -> int:
    """So many rows are quantified in a time that the event loop can spare."""
    doubting = model.doubting
    if doubting is None or not _in_doubt(question, model):
        return len(question.rows)
    return doubting.rows_extra if question.doubt is not None and question.doubt.extra else doubting.rows


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


def _with_doubt(answer: Answer, doubts: _Doubts) -> Answer:
    """The answer with how sure it is, and without the labels that are not to be relied on."""
    doubting, labels = answer.model.doubting, answer.labels
    if doubting is not None and doubts.judged is not None:
        columns = doubts.judged.columns
        ambiguous = columns["set"].sum(axis=1) != 1 if doubting.ambiguous else None
        strange = ~columns["in_domain"] if doubting.out_of_domain else None
        labels = abstain(answer.model.spec, labels, ambiguous, strange)
    return answer._replace(labels=labels, quantified=doubts.asked, judged=doubts.judged)


async def _quantify_in_turns(question: Question, model: Serving, scores: Scores, due: float) -> _Doubts:
    """The same as ``_quantify``, a few rows at a time, so that other requests are answered in between.

    Raises:
        DeadlineError: time ran out.
    """
    step = max(1, _spared_rows(question, model))
    parts: list[_Doubts] = []
    for start in range(0, len(scores), step):
        if start and time.monotonic() > due:
            raise DeadlineError(f"{start} of {len(scores)} rows were quantified before the deadline")
        parts.append(_quantify(question, model, scores, slice(start, start + step)))
        await asyncio.sleep(0)
    return _Doubts(_joined([part.asked for part in parts]), _joined([part.judged for part in parts]))


def _joined(parts: Sequence[Quantified | None]) -> Quantified | None:
    """What was found out about consecutive rows, as one."""
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    columns = {name: np.concatenate([part.columns[name] for part in found]) for name in found[0].columns}
    return found[0]._replace(columns=columns)


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
