"""Builds one worker's edge."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson

from models import store
from models.bundle import open_bundle
from service import __version__
from service.adapters import bundles, process, prometheus
from service.adapters.bundles import Loaded
from service.adapters.errands import ErrandClient
from service.adapters.label_metrics import FeedbackMetrics
from service.adapters.ledger import SENDERS
from service.adapters.mirror import Mirror
from service.adapters.onnx import Watchdog, warm_up
from service.domain.canary import Rollout
from service.domain.observation import Arm
from service.domain.projection import projection
from service.domain.report import CandidateState, report
from service.domain.schema import FeatureBatch, ModelSpec, Scores
from service.errors import BundleError, DeadlineError, UnderstudyError
from service.http.codec import Head
from service.http.doubts import cannot
from service.http.edge import Edge, EdgeLimits
from service.http.feedback import FeedbackPage
from service.http.openapi_schemas import Described
from service.http.problem import Problem
from service.http.routes import Doubts as HttpDoubts
from service.http.routes import Limits, Sources, health, routes
from service.http.wishes import WishLimits
from service.paths.canary import Canary
from service.paths.explain import ExplainPath
from service.paths.feedback import FeedbackPath
from service.paths.predict import PredictPath
from service.paths.question import Serving
from service.paths.rollout import RolloutPath
from service.settings import Environment, Settings, read_rollout
from service.wiring.doubting import Doubts, doubting, doubts_of
from service.wiring.following import Following
from service.wiring.quick import quick_explanations
from service.wiring.shared import (
    EXPLANATIONS,
    adaptation_path,
    breaker_of,
    explainer_socket_path,
    explainer_status_path,
    open_ledger,
    socket_path,
    status_path,
)
from service.wiring.store import LazyStore, filing

log = logging.getLogger("understudy")

METRICS_SECONDS = 0.1
"""How often counts are moved to where they are scraped; requests that arrive meanwhile wait for 0.1 ms."""
THREADS = 4
"""Inferences of one model that may run beside the event loop at once."""
TRIAL_ROWS = 256
"""Batch size at which the cost per row is measured."""


@dataclass(slots=True)
class EdgeProcess:
    """One worker's edge, and what has to run beside it."""

    edge: Edge
    metrics: prometheus.EdgeMetrics
    mirror: Mirror | None
    rollouts: RolloutPath | None
    flush_seconds: float
    following: Following | None = None
    _tasks: tuple[asyncio.Task[None], ...] = ()

    async def start(self) -> None:
        """Applies the rollout in force, then keeps flushing and watching."""
        if self.rollouts is not None:
            await self.rollouts.look()
            self._tasks += (asyncio.create_task(self.rollouts.watch(), name="rollout"),)
        if self.following is not None:
            self._tasks += (asyncio.create_task(self.following.watch(), name="follow"),)
        self._tasks += (asyncio.create_task(self._flush(), name="flush"),)

    async def predict(self, document: dict[str, Any]) -> dict[str, Any]:
        """One request that did not come over HTTP, on the same path; raises ``Problem``."""
        path, codec = self.edge.path, self.edge.routes["/predict"].predict
        if path is None or codec is None:
            raise Problem(503, f"not ready: {self.edge.unfit}")
        question = codec.decode(orjson.dumps(document), Head({}, None, time.monotonic()))
        answer = await path.answer(question)
        path.settle(question, answer)
        found: dict[str, Any] = orjson.loads(codec.encode(answer, question).body)
        return found

    async def stop(self) -> None:
        """Counts and hands over what is left."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self.metrics.flush()
        if self.mirror is not None:
            self.mirror.close()

    async def _flush(self) -> None:
        counted = time.monotonic()
        while True:
            await asyncio.sleep(self.flush_seconds)
            try:
                if self.mirror is not None:
                    self.mirror.flush()
                if time.monotonic() - counted >= METRICS_SECONDS:
                    counted = time.monotonic()
                    self.metrics.flush()
            except Exception:  # off the path: counted rows wait for the next turn
                log.exception("flush failed")


class EdgeBuilder:
    """Builds one worker's edge."""

    def __init__(self, settings: Settings, environment: Environment, worker: int) -> None:
        process.log_to_stderr()
        self._settings = settings
        self._environment = environment
        self._worker = worker % SENDERS
        environment.home.mkdir(parents=True, exist_ok=True)
        prometheus.write_as(f"edge{self._worker}")
        self._registry = prometheus.new_registry()
        self._watchdog = Watchdog()
        arms: tuple[Arm, Arm] = (
            "production",
            "canary",
        )  # apart: a canary that hangs must not use up production's
        self._pools = {arm: ThreadPoolExecutor(THREADS, thread_name_prefix=f"infer-{arm}") for arm in arms}
        self._ledger = open_ledger(settings, environment)
        self._following = Following(adaptation_path(environment))

    def build(self) -> EdgeProcess:
        """The edge; one whose production bundle is unfit answers 503 and says why."""
        settings = self._settings
        try:
            loaded = self._load(settings.production)
            doubts = self._doubts(loaded)
        except UnderstudyError as error:
            log.error("production is unfit: %s", error)
            return self._unfit(str(error))
        spec = loaded.bundle.spec
        metrics = prometheus.EdgeMetrics(self._registry, spec.name, spec.version, __version__)
        explain = self._settings.explain
        mirror = self._mirror()
        path = PredictPath(
            self._serving(loaded, "production", metrics, doubts),
            mirror,
            deadline=settings.limits.deadline_ms / 1000,
            canary_deadline=settings.limits.canary_deadline_ms / 1000,
            fell_back=metrics.fell_back,
        )
        rollouts = RolloutPath(
            path,
            read=self._read_rollout,
            fingerprint=self._fingerprint,
            load=partial(self._canary, loaded, metrics),
            publish=metrics.share,
        )
        page = prometheus.Page(self._registry, self._ledger)
        sources = Sources(
            models=partial(self._describe_models, loaded, page),
            rollout=rollouts.describe,
            report=partial(self._report, page),
            metrics=page.text,
            global_views={tag: partial(_global_views, tag) for tag in settings.candidates}
            | {settings.production: loaded.bundle.global_views},
            uncertainty={
                tag: partial(_uncertainty, tag) for tag in (settings.production, *settings.candidates)
            },
        )
        limits = settings.limits
        asked = Limits(
            limits.max_rows,
            WishLimits(explain.most_evals, explain.longest_deadline_ms / 1000),
            explain.max_evals,
        )
        sure = HttpDoubts(
            cannot(spec.tag) if doubts is None else doubts.check,
            settings.uncertainty.always,
            bool(loaded.bundle.manifest.uncertainty.abstain),
        )
        about = Described(
            spec,
            loaded.bundle.binding,
            limits.max_rows,
            loaded.bundle.manifest.expected,
            bundles.example_of(loaded.bundle),
            sure.abstains,
        )
        edge = Edge(
            path=path,
            explain=ExplainPath(
                ErrandClient(explainer_socket_path(self._environment)) if explain.process else None,
                deadline=explain.deadline_ms / 1000,
                max_rows=explain.max_rows,
                explained=metrics.explained,
            ),
            unfit=None,
            routes=routes(
                about,
                __version__,
                asked,
                metrics.violated,
                sources,
                sure,
                settings.candidates,
                self._feedback(spec),
            ),
            limits=self._limits(),
            responded=metrics.responded,
            admin_token=self._environment.admin_token,
        )
        process.settle_memory()
        return EdgeProcess(edge, metrics, mirror, rollouts, settings.shadow.flush_ms / 1000, self._following)

    def _load(self, tag: str) -> Loaded:
        return bundles.load(tag, providers=self._environment.providers, threads=self._settings.server.threads)

    def _doubts(self, loaded: Loaded) -> Doubts | None:
        doubts = doubts_of(loaded, self._environment.providers, self._settings.server.threads)
        if doubts is not None and self._settings.uncertainty.adapt:
            self._following.add(loaded.bundle.spec.tag, doubts)
        return doubts

    def _serving(
        self, loaded: Loaded, arm: Arm, metrics: prometheus.EdgeMetrics, doubts: Doubts | None
    ) -> Serving:
        infer = partial(self._watchdog.predict, loaded.model)
        pool = self._pools[arm]

        def infer_if_in_time(rows: FeatureBatch, due: float) -> Scores:
            if time.monotonic() > due:  # it waited for a thread for too long
                raise DeadlineError(f"{loaded.bundle.spec.tag} was not begun before its deadline")
            return infer(rows, due)

        async def infer_in_thread(rows: FeatureBatch, due: float) -> Scores:
            return await asyncio.get_running_loop().run_in_executor(pool, infer_if_in_time, rows, due)

        one = warm_up(loaded.model, bundles.sample_rows(loaded.bundle, 1))
        many = warm_up(loaded.model, bundles.sample_rows(loaded.bundle, TRIAL_ROWS))
        per_row = max((many - one) / (TRIAL_ROWS - 1), 1e-9)
        inline_rows = int((self._settings.limits.inline_ms / 1000 - one) / per_row)
        spec = loaded.bundle.spec
        tally = metrics.arm(spec, arm)
        spare = self._settings.limits.inline_ms / 1000
        quick = quick_explanations(loaded, spare)
        return Serving(
            spec,
            infer,
            infer_in_thread,
            max(inline_rows, 0),
            tally,
            quick.explain,
            quick.rows,
            None if doubts is None else doubting(loaded, doubts, spare),
        )

    def _canary(self, production: Loaded, metrics: prometheus.EdgeMetrics, tag: str) -> Canary:
        loaded = self._load(tag)
        project = projection(production.bundle.spec, loaded.bundle.spec)
        serving = self._serving(loaded, "canary", metrics, self._doubts(loaded))
        explain, sure = serving.explain, serving.doubting
        if explain is not None:  # it is asked about production's rows, as are the measures of uncertainty
            serving = replace(
                serving, explain=lambda rows, scores, wish: explain(project(rows), scores, wish)
            )
        if sure is not None:
            quantify = sure.quantify
            sure = replace(sure, quantify=lambda rows, scores, doubt: quantify(project(rows), scores, doubt))
            serving = replace(serving, doubting=sure)
        number = 1 + self._settings.candidates.index(tag)
        return Canary(replace(serving, answerer=number), project, breaker_of(self._settings))

    def _feedback(self, spec: ModelSpec) -> FeedbackPage | None:
        wanted = self._settings.feedback
        if not wanted.enabled:
            return None
        store = LazyStore(self._environment, wanted.write_ms / 1000)
        metrics = FeedbackMetrics(self._registry)
        path = FeedbackPath(filing(store), deadline=wanted.write_ms / 1000, told=metrics.told)
        return FeedbackPage(spec, self._settings.limits.max_rows, path)

    def _mirror(self) -> Mirror | None:
        if self._ledger is None:
            return None
        shadow = self._settings.shadow
        return Mirror(
            socket_path(self._settings, self._environment),
            self._ledger,
            self._worker,
            sample_rate=shadow.sample_rate,
            room_bytes=shadow.buffer_bytes,
        )

    def _read_rollout(self) -> Rollout:
        section = read_rollout(self._environment.config, self._settings.candidates)
        return Rollout(section.candidate, section.share_basis_points, section.salt)

    def _fingerprint(self) -> object:
        try:
            found = self._environment.config.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _limits(self) -> EdgeLimits:
        limits = self._settings.limits
        return EdgeLimits(limits.max_body_bytes, limits.max_concurrency, limits.deadline_ms / 1000)

    def _describe_models(self, production: Loaded, page: prometheus.Page) -> dict[str, Any]:
        shadow = self._shadow_status()
        methods = process.read_status(explainer_status_path(self._environment)) or {}
        loading = {"state": "loading", "reason": "the shadow has not loaded it yet"}
        found = [shadow.get(tag) or bundles.refused(tag, "") | loading for tag in self._settings.candidates]
        serving = production.describe()
        samples = page.samples()
        for each in (serving, *found):
            tag = f"{each['name']}:{each['version']}"
            each["explanations"] = methods.get(tag)
            sure = each.get("uncertainty")
            if sure is not None:
                sure["coverage"] = self._following.coverage(samples, tag, sure["confidence"])
        return {"production": serving, "candidates": found}

    def _shadow_status(self) -> dict[str, Any]:
        status: dict[str, Any] | None = process.read_status(status_path(self._environment))
        return status or {}

    def _report(self, page: prometheus.Page) -> dict[str, Any]:
        shadow, ledger = self._shadow_status(), self._ledger
        reasons = shadow.get(EXPLANATIONS, {})
        states = tuple(
            CandidateState(
                tag,
                shadow.get(tag, {}).get("reason"),
                ledger is not None and ledger.breaker_open(index),
                ledger.in_flight(index) if ledger is not None else 0,
                reasons.get(tag, {}).get("method"),
                reasons.get(tag, {}).get("reason"),
            )
            for index, tag in enumerate(self._settings.candidates)
        )
        return report(page.samples(), self._settings.production, states)

    def _unfit(self, reason: str) -> EdgeProcess:
        name, _, version = self._settings.production.partition(":")
        metrics = prometheus.EdgeMetrics(self._registry, name, version, __version__)
        page = prometheus.Page(self._registry, self._ledger)
        edge = Edge(None, None, reason, health(reason, page.text), self._limits(), metrics.responded, None)
        return EdgeProcess(edge, metrics, None, None, 1.0)


def _uncertainty(tag: str) -> bytes | None:
    """What packaging found out about a bundle's measures; raises ``Problem`` where it is not there."""
    try:
        document = open_bundle(store.locate(tag)).uncertainty()
    except BundleError as error:
        raise Problem(404, str(error)) from error
    return None if document is None else orjson.dumps(document)


def _global_views(tag: str) -> bytes | None:
    """What a bundle in the store says of its model as a whole; raises ``Problem`` where it is not there."""
    try:
        return open_bundle(store.locate(tag)).global_views()
    except BundleError as error:
        raise Problem(404, str(error)) from error
