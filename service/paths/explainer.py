"""The journey of one errand in the Explainer process: explain the rows, put it into words, write it down."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from service.domain.disagreement.reasons import shares
from service.domain.errand import Errand, Reply
from service.domain.explainers.document import Form, Narrator
from service.domain.explainers.game import Explanation, Unsuitable
from service.domain.explainers.offer import Offer
from service.domain.explainers.pair import Pair
from service.domain.observation import Arm
from service.domain.projection import Projection
from service.domain.schema import FeatureBatch, ModelSpec, label_indices
from service.errors import BusyError, DeadlineError, UnderstudyError, text_for_logs

log = logging.getLogger("understudy.explainer")

MOVED = 10
"""So many features are named in a comparison."""
TELLING = 0.25
"""Seconds, at most a quarter of an errand's time, that are kept for putting its explanations into words."""
CONTENT_TYPES: dict[Form, str] = {
    "json": "application/json",
    "svg": "image/svg+xml",
    "png": "image/png",
    "html": "text/html; charset=utf-8",
}


class Turn(NamedTuple):
    """What a thread works for."""

    due: float
    """``time.monotonic()`` at which nobody waits any more."""
    wanted: Callable[[], bool]
    """Whether somebody still waits."""


TURN: ContextVar[Turn | None] = ContextVar("turn", default=None)
"""The errand in work, for models: a method knows when to stop, but not that its caller has hung up."""


@dataclass(frozen=True, slots=True, eq=False)
class Explainable:
    """A model with its methods."""

    offer: Offer
    narrator: Narrator
    project: Projection
    """From production's canonical rows to this model's."""


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Production and a candidate with a common method."""

    pair: Pair
    production: Narrator
    candidate: Narrator


class Models(Protocol):
    """What can be explained; a model is prepared when it is first asked for.

    Both raise ``Unsuitable`` where a model cannot be loaded or explained, and ``BusyError`` where it is being
    prepared.
    """

    def own(self, tag: str) -> Explainable:
        """A model relative to its own background."""

    def beside_production(self, tag: str, method: str) -> Compared:
        """Production and a candidate, both relative to production's background."""


class Cache(Protocol):
    """Replies that are asked for again."""

    def get(self, key: bytes) -> Reply | None: ...

    def put(self, key: bytes, reply: Reply) -> None: ...


Write = Callable[[dict[str, Any], FeatureBatch], bytes]
"""A response document, and the rows it is about, as a picture or a page."""


class ExplainerPath:
    """Works errands off; any number of threads at once.

    Args:
        models: what can be explained.
        cache: of replies.
        write: how explanations are written, by form.
        write_comparison: how comparisons are.
    """

    def __init__(
        self,
        models: Models,
        cache: Cache,
        write: Mapping[Form, Write],
        write_comparison: Mapping[Form, Write],
    ) -> None:
        self._models = models
        self._cache = cache
        self._write = write
        self._write_comparison = write_comparison

    def work(self, errand: Errand, wanted: Callable[[], bool] = lambda: True) -> Reply:
        """What became of the errand, given up once it is not ``wanted``; never raises."""
        start = time.monotonic()
        key = _key(errand)
        kept = self._cache.get(key)
        if kept is not None:
            return kept._replace(seconds=time.monotonic() - start)
        turn = TURN.set(Turn(errand.due, wanted))
        try:
            against = errand.wish.against
            reply, found = self._explain(errand) if against is None else self._compare(errand, against)
        except Unsuitable as error:
            return Reply("unsuitable", [], reason=str(error))
        except BusyError as error:
            return Reply("busy", [], reason=str(error))
        except DeadlineError as error:
            return Reply("late", [], reason=str(error))
        except UnderstudyError as error:
            asked, why = errand.request_id, text_for_logs(error)
            log.error("%s cannot be explained: %s (request %s)", errand.model, why, asked)
            return Reply("failed", [], reason=text_for_logs(error))
        except Exception as error:  # a bug in one method must not end the thread
            log.exception("%s by %s (request %s)", errand.model, errand.wish.ask.method, errand.request_id)
            return Reply("failed", [], reason=text_for_logs(error))
        finally:
            TURN.reset(turn)
        reply = reply._replace(seconds=time.monotonic() - start)
        if not any(explanation.degraded for explanation in found):  # with more time it may be better
            self._cache.put(key, reply)
        return reply

    def _explain(self, errand: Errand) -> tuple[Reply, list[Explanation]]:
        model = self._models.own(errand.model)
        drawn = errand.wish.form in ("svg", "png")  # a picture is of the first row
        rows, start = model.project(errand.rows[:1] if drawn else errand.rows), time.monotonic()
        found = _explanations(model.offer, rows, errand)
        documents = _told(model.narrator, rows, found, errand, start)
        method = found[0].method
        if errand.wish.form == "json":
            return Reply("done", [orjson.dumps(each) for each in documents], method=method), found
        scores = model.offer.subject.predict(rows)
        for document, row in zip(documents, scores, strict=True):
            document["prediction"] = _prediction(model.narrator.spec, row)
        response = {
            "request_id": errand.request_id,
            "model": _named(model.narrator.spec, errand.arm),
            "explanations": documents,
        }
        page = self._write[errand.wish.form](response, rows)
        return Reply("done", [page], CONTENT_TYPES[errand.wish.form], method), found

    def _compare(self, errand: Errand, against: str) -> tuple[Reply, list[Explanation]]:
        ask = errand.wish.ask
        found = self._models.beside_production(against, ask.method)
        pair = replace(found.pair, ask=replace(found.pair.ask, max_evals=ask.max_evals, seed=ask.seed))
        rows, start = errand.rows, time.monotonic()
        scores = self._models.own(errand.model).offer.subject.predict(rows)
        before, after = pair.explain(rows, scores, _due(errand))
        if len(before) < len(rows):
            raise DeadlineError(f"{len(before)} of {len(rows)} rows could be compared before the deadline")
        response: dict[str, Any] = {"request_id": errand.request_id}
        for role, narrator, side, explanations in (
            ("production", found.production, pair.production, before),
            ("candidate", found.candidate, pair.candidate, after),
        ):
            told = _told(narrator, side.view(rows), explanations, errand, start)
            spec = narrator.spec
            response[role] = {"model": {"name": spec.name, "version": spec.version}, "explanations": told}
        response["comparisons"] = _comparisons(pair, before, after)
        form = errand.wish.form
        page = orjson.dumps(response) if form == "json" else self._write_comparison[form](response, rows)
        return Reply("done", [page], CONTENT_TYPES[form], pair.method), before + after


def _explanations(offer: Offer, rows: FeatureBatch, errand: Errand) -> list[Explanation]:
    """One for each row; a method that takes long gets for each row its share of what time is left."""
    ask, due = errand.wish.ask, _due(errand)
    if offer.methods[offer.chosen(ask)].quick:
        return offer.explain(rows, ask, due)
    found: list[Explanation] = []
    for index in range(len(rows)):
        now = time.monotonic()
        if now >= due:
            raise DeadlineError(f"{index} of {len(rows)} rows were explained before the deadline")
        found += offer.explain(rows[index : index + 1], ask, now + (due - now) / (len(rows) - index))
    return found


def _due(errand: Errand) -> float:
    """When methods have to be done, so that the reply is there when its caller wants it."""
    return errand.due - min(TELLING, max(0.0, errand.due - time.monotonic()) / 4)


def _told(
    narrator: Narrator, rows: FeatureBatch, found: list[Explanation], errand: Errand, start: float
) -> list[dict[str, Any]]:
    elapsed = (time.monotonic() - start) * 1000 / len(rows)
    return [narrator.tell(row, each, errand.wish, elapsed) for row, each in zip(rows, found, strict=True)]


def _comparisons(pair: Pair, before: list[Explanation], after: list[Explanation]) -> list[dict[str, Any]]:
    """How far the reasons for each row differ, and the features whose share of the influence moved most."""
    reasons, (first, second) = pair.reasons(before, after), pair.attributions(before, after)
    mine, theirs = shares(first), shares(second)
    found = []
    for row in range(len(before)):
        order = np.argsort(-reasons.moved[row], kind="stable")[:MOVED]
        found.append(
            {
                "distance": float(reasons.distances[row]),
                "top_overlap": float(reasons.overlaps[row]),
                "moved": [
                    {
                        "feature": reasons.features[player],
                        "production": float(mine[row, player]),
                        "candidate": float(theirs[row, player]),
                    }
                    for player in order
                ],
            }
        )
    return found


def _prediction(spec: ModelSpec, scores: NDArray[np.float32]) -> dict[str, Any]:
    """One row's answer as ``/predict`` gives it, from its scores [outputs]."""
    if not spec.classes:
        return {"value": float(scores[0])}
    (label,) = label_indices(spec, scores[None])
    shares = dict(zip(spec.classes, map(float, scores), strict=True))
    return {"label": spec.classes[label], "probabilities": shares}


def _named(spec: ModelSpec, arm: Arm) -> dict[str, str]:
    return {"name": spec.name, "version": spec.version, "arm": arm}


def _key(errand: Errand) -> bytes:
    """All that decides a reply; a page also shows the request's id."""
    wish = errand.wish._replace(deadline=None)
    shown = errand.request_id if wish.form != "json" or wish.against else ""
    return repr((errand.model, errand.arm, wish, errand.rows.shape, shown)).encode() + errand.rows.tobytes()
