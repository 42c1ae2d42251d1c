"""Explanations that an edge makes itself: exact ones, in tens of microseconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple, cast

import orjson

from service.adapters import bundles, subjects
from service.adapters.bundles import Loaded
from service.domain.explainers.document import Wish
from service.domain.explainers.game import ScoredExplainer, Unsuitable
from service.domain.explainers.linear_exact import LINEAR_EXACT
from service.domain.explainers.offer import offer
from service.domain.explainers.tree_exact import TREE_EXACT
from service.domain.schema import FeatureBatch, Scores
from service.paths.question import Explained

QUICK = (TREE_EXACT, LINEAR_EXACT)
"""The registry's quick methods; its others would take an edge 100 MB. A test holds the two together."""

TRIAL_ROWS = 32
"""So many rows are explained to learn what one takes."""
MOST_ROWS = 256
"""Rows explained at a time, however fast it is."""

log = logging.getLogger("understudy.explain")

Explain = Callable[[FeatureBatch, Scores, Wish], Explained | None]


class Quick(NamedTuple):
    """Explanations at once."""

    explain: Explain | None
    """Explains answered rows; answers None for wishes that another method has to fulfil."""
    rows: int
    """So many rows take ``seconds`` at most, but at least 1."""


NOTHING = Quick(None, 1)


def quick_explanations(loaded: Loaded, seconds: float) -> Quick:
    """How a model's answers are explained on the edge; never raises: predictions need no explanations.

    Args:
        loaded: the model.
        seconds: that the event loop can spare at a time.
    """
    try:
        explain = _explain(loaded)
        return NOTHING if explain is None else Quick(explain, _rows_in(seconds, loaded, explain))
    except Exception:  # whatever it is about the graph, the model answers
        log.exception("%s cannot be explained on the edge", loaded.bundle.spec.tag)
        return NOTHING


def _rows_in(seconds: float, loaded: Loaded, explain: Explain) -> int:
    rows = bundles.sample_rows(loaded.bundle, TRIAL_ROWS)
    scores, wish = loaded.model.predict(rows), Wish()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        explain(rows, scores, wish)
        times.append((time.perf_counter() - start) / TRIAL_ROWS)
    return max(1, min(int(seconds / min(times)), MOST_ROWS))


def _explain(loaded: Loaded) -> Explain | None:
    """What explains a model's answers, or None where no quick method can."""
    subject = subjects.subject_of(loaded.bundle, loaded.model)
    certificate = loaded.bundle.certificate()
    found = offer(subject, QUICK, subjects.forbidden_by(certificate), _broken)
    if not found.explainers:
        return None
    narrator = subjects.narrator(loaded.bundle, subject)
    ready = {name: cast(ScoredExplainer, explainer) for name, explainer in found.explainers.items()}
    preferred = next(iter(ready))
    log.info("%s is explained by %s on the edge", loaded.bundle.spec.tag, preferred)

    def explain(rows: FeatureBatch, scores: Scores, wish: Wish) -> Explained | None:
        method = preferred if wish.ask.method == "auto" else wish.ask.method
        chosen = ready.get(method)
        if chosen is None:
            return None
        start = time.perf_counter()
        try:
            explanations = chosen.explain_scored(rows, scores, wish.ask)
        except Unsuitable:
            if wish.ask.method == "auto":
                return None
            raise
        elapsed = (time.perf_counter() - start) * 1000 / len(rows)
        documents = [
            orjson.dumps(narrator.tell(row, explanation, wish, elapsed))
            for row, explanation in zip(rows, explanations, strict=True)
        ]
        return Explained(method, time.perf_counter() - start, documents)

    return explain


def _broken(method: str, error: Exception) -> None:
    log.error("%s fails", method, exc_info=error)
