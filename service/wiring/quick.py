"""Explanations that an edge makes itself: exact ones, in tens of microseconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import cast

import orjson

from service.adapters import subjects
from service.adapters.bundles import Loaded
from service.domain.explainers.document import Wish
from service.domain.explainers.game import ScoredExplainer, Unsuitable
from service.domain.explainers.linear_exact import LINEAR_EXACT
from service.domain.explainers.offer import offer
from service.domain.explainers.tree_exact import TREE_EXACT
from service.domain.schema import FeatureBatch, Scores
from service.paths.predict import Explained

QUICK = (TREE_EXACT, LINEAR_EXACT)
"""The registry's quick methods; its others would take an edge 100 MB. A test holds the two together."""

log = logging.getLogger("understudy.explain")


def quick_explanations(
    loaded: Loaded,
) -> Callable[[FeatureBatch, Scores, Wish], Explained | None] | None:
    """Explains answered rows of a model, or None where no quick method can.

    What is returned answers None for wishes that another method has to fulfil.
    """
    subject = subjects.subject_of(loaded.bundle, loaded.model)
    certificate = loaded.bundle.certificate()
    found = offer(subject, QUICK, subjects.forbidden_by(certificate))
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
