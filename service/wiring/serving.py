"""From a bundle in the store to a model that answers callers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, get_args

from models import store
from models.manifest import MANIFEST_NAME, read_manifest
from service.adapters import bundles
from service.adapters.bundles import Loaded
from service.adapters.edge_metrics import EdgeMetrics
from service.adapters.onnx import Watchdog, warm_up
from service.domain.observation import Arm
from service.domain.projection import projection
from service.domain.schema import FeatureBatch, Scores
from service.domain.uncertainty.measure import Graph
from service.errors import BundleError, DeadlineError
from service.paths.canary import Canary
from service.paths.question import Serving
from service.settings import Environment, Settings
from service.wiring.doubting import Doubts, doubting, doubts_of
from service.wiring.following import Following
from service.wiring.quick import quick_explanations
from service.wiring.shared import breaker_of

THREADS = 4
"""Inferences of one model that may run beside the event loop at once."""
TRIAL_ROWS = 256
"""Batch size at which the cost per row is measured."""


class ServingBuilder:
    """Makes the models of one edge ready to answer.

    Args:
        settings: of the service.
        environment: what comes from the environment alone.
        metrics: where answers are tallied.
        following: what learns from labels; told of each model where the settings want it to.
    """

    def __init__(
        self, settings: Settings, environment: Environment, metrics: EdgeMetrics, following: Following
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._metrics = metrics
        self._following = following
        self._watchdog = Watchdog()
        self._spare = settings.limits.inline_ms / 1000
        # apart: a canary that hangs must not use up production's
        self._pools = {arm: ThreadPoolExecutor(THREADS, f"infer-{arm}") for arm in get_args(Arm)}

    def load(self, tag: str) -> Loaded:
        """The bundle, through its gate; raises ``BundleError``."""
        return bundles.load(tag, providers=self._environment.providers, threads=self._settings.server.threads)

    def doubts(self, loaded: Loaded) -> Doubts | None:
        """The bundle's measures of uncertainty, or None where it has none; raises ``BundleError``."""
        return doubts_of(loaded, self._environment.providers, self._settings.server.threads)

    def production(self, loaded: Loaded, doubts: Doubts | None) -> Serving:
        """The model that always can answer; raises ``UnderstudyError``."""
        return self._serving(loaded, "production", doubts)

    def may_abstain(self, production: Loaded) -> bool:
        """Whether some answers may name no label, production's or those of a candidate that gets its turn."""
        abstains = bool(production.bundle.manifest.uncertainty.abstain)
        for tag in self._settings.candidates:
            with contextlib.suppress(BundleError):  # it will not answer
                manifest = read_manifest(store.locate(tag) / MANIFEST_NAME)
                abstains = abstains or bool(manifest.uncertainty.abstain)
        return abstains

    def canary(self, production: Loaded, tag: str) -> Canary:
        """A candidate that may answer in production's place; raises ``UnderstudyError``."""
        loaded = self.load(tag)
        project = projection(production.bundle.spec, loaded.bundle.spec)
        serving = self._serving(loaded, "canary", self.doubts(loaded))
        explain, sure = serving.explain, serving.doubting
        if explain is not None:  # it is asked about production's rows, as are the measures of uncertainty
            serving = replace(
                serving, explain=lambda rows, scores, wish: explain(project(rows), scores, wish)
            )
        if sure is not None:
            quantify = sure.quantify
            sure = replace(
                sure,
                quantify=lambda rows, scores, doubt: quantify(project(rows), scores, doubt),
                beside=partial(self._beside, "canary") if _has_graphs(loaded) else None,
            )
            serving = replace(serving, doubting=sure)
        number = 1 + self._settings.candidates.index(tag)
        return Canary(replace(serving, answerer=number), project, breaker_of(self._settings))

    def _serving(self, loaded: Loaded, arm: Arm, doubts: Doubts | None) -> Serving:
        infer = partial(self._watchdog.predict, loaded.model)

        def infer_if_in_time(rows: FeatureBatch, due: float) -> Scores:
            if time.monotonic() > due:  # it waited for a thread for too long
                raise DeadlineError(f"{loaded.bundle.spec.tag} was not begun before its deadline")
            return infer(rows, due)

        async def infer_in_thread(rows: FeatureBatch, due: float) -> Scores:
            scores: Scores = await self._beside(arm, partial(infer_if_in_time, rows, due))
            return scores

        one = warm_up(loaded.model, bundles.sample_rows(loaded.bundle, 1))
        many = warm_up(loaded.model, bundles.sample_rows(loaded.bundle, TRIAL_ROWS))
        per_row = max((many - one) / (TRIAL_ROWS - 1), 1e-9)
        inline_rows = int((self._spare - one) / per_row)
        spec = loaded.bundle.spec
        quick = quick_explanations(loaded, self._spare)
        sure = None if doubts is None else doubting(loaded, doubts, self._spare)
        if doubts is not None and self._settings.uncertainty.adapt:
            self._following.add(spec.tag, doubts)
        return Serving(
            spec,
            infer,
            infer_in_thread,
            max(inline_rows, 0),
            self._metrics.arm(spec, arm),
            quick.explain,
            quick.rows,
            sure,
        )

    async def _beside(self, arm: Arm, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pools[arm], work)


def _has_graphs(loaded: Loaded) -> bool:
    return any(loaded.bundle.graph_path(graph) is not None for graph in get_args(Graph))
