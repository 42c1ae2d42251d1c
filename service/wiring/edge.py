"""Builds one worker's edge."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from service import __version__
from service.adapters import bundles, process, prometheus
from service.adapters.bundles import Loaded
from service.adapters.edge_metrics import EdgeMetrics
from service.adapters.errands import ErrandClient
from service.adapters.findings import FindingsReader
from service.adapters.label_metrics import FeedbackMetrics
from service.adapters.ledger import SENDERS
from service.adapters.logs import log_to_stderr
from service.adapters.mirror import Mirror
from service.adapters.presence import Presence
from service.adapters.ready_metrics import ReadyMetrics
from service.adapters.seats import Seats, bury_vacant
from service.domain.canary import Rollout
from service.domain.schema import ModelSpec
from service.errors import ConfigurationError, UnderstudyError
from service.http.admission import explaining
from service.http.codec import Head
from service.http.doubts import cannot
from service.http.edge import Edge, EdgeLimits, Route
from service.http.feedback import FeedbackPage
from service.http.openapi_schemas import Described
from service.http.problem import Problem
from service.http.routes import Doubts as HttpDoubts
from service.http.routes import Limits, Sources, health, routes
from service.http.wishes import WishLimits
from service.paths.explain import ExplainPath
from service.paths.feedback import FeedbackPath
from service.paths.predict import PredictPath
from service.paths.question import Serving
from service.paths.rollout import RolloutPath
from service.settings import Environment, Settings, read_rollout
from service.wiring.doubting import Doubts
from service.wiring.following import Following
from service.wiring.redacting import redaction_rules
from service.wiring.replaying import replay_page
from service.wiring.serving import ServingBuilder
from service.wiring.shared import (
    adaptation_path,
    distributions_page_path,
    edges_path,
    enter_shared_directory,
    explainer_socket_path,
    metrics_directories,
    open_ledger,
    shared_directory,
    socket_path,
)
from service.wiring.shown import Shown, global_views, uncertainty, uncertainty_of
from service.wiring.store import LazyStore, filing
from service.wiring.telling import Telling, telling

log = logging.getLogger("understudy")

METRICS_SECONDS = 0.1
"""How often counts are moved to where they are scraped; requests that arrive meanwhile wait for 0.1 ms."""


@dataclass(slots=True)
class EdgeProcess:
    """One worker's edge, and what has to run beside it."""

    edge: Edge
    metrics: EdgeMetrics
    mirror: Mirror | None
    rollouts: RolloutPath | None
    flush_seconds: float
    telling: Telling
    following: Following | None = None
    presence: Presence | None = None
    """Keeps the shadow and the Explainer waiting for what is still to come; None where nothing comes."""
    seat: Presence | None = None
    """Holds this worker's number in the ledger; None where nothing is mirrored."""
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
        if question.wish is not None:
            answer = await explaining(self.edge).explain(question, answer, question.wish)
        path.settle(question, answer)
        found: dict[str, Any] = orjson.loads(codec.encode(answer, question).body)
        return found

    async def stop(self) -> None:
        """Counts and hands over what is left."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(self.telling.close)
        self.metrics.flush()
        if self.mirror is not None:
            self.mirror.close()
        for held in (self.seat, self.presence):
            if held is not None:
                held.leave()

    async def _flush(self) -> None:
        counted = time.monotonic()
        while True:
            await asyncio.sleep(self.flush_seconds)
            try:
                if self.mirror is not None:
                    self.mirror.flush()
                self.telling.flush()
                if time.monotonic() - counted >= METRICS_SECONDS:
                    counted = time.monotonic()
                    self.metrics.flush()
            except Exception:  # off the path: counted rows wait for the next turn
                log.exception("flush failed")


class EdgeBuilder:
    """Builds one worker's edge."""

    def __init__(self, settings: Settings, environment: Environment, worker: int) -> None:
        log_to_stderr(settings.log, behind=True)
        self._settings = settings
        self._environment = environment
        self._worker = worker % SENDERS
        environment.home.mkdir(parents=True, exist_ok=True)
        enter_shared_directory(settings, environment)
        prometheus.write_as(f"edge{self._worker}")
        self._registry = prometheus.new_registry()
        name, _, version = settings.production.partition(":")
        self._metrics = EdgeMetrics(self._registry, name, version, __version__)
        self._ready = ReadyMetrics(self._registry)
        self._telling = telling(settings, self._metrics)
        self._ledger = open_ledger(settings, environment)
        self._following = Following(adaptation_path(settings, environment))
        self._servings = ServingBuilder(settings, environment, self._metrics, self._following)

    def build(self) -> EdgeProcess:
        """The edge; one whose production bundle is unfit answers 503 and says why."""
        try:
            loaded = self._servings.load(self._settings.production)
            doubts = self._servings.doubts(loaded)
            if doubts is None and self._settings.uncertainty.always:
                raise ConfigurationError(
                    f"uncertainty.always: {self._settings.production} was packaged without measures of it"
                )
            redaction_rules(
                self._settings.evidence, loaded.bundle
            )  # the shadow, which needs them, cannot refuse
            production = self._servings.production(loaded, doubts)
        except UnderstudyError as error:
            log.error("production is unfit: %s", error)
            self._ready.said(self._settings.production, "production", False)
            return self._unfit(str(error))
        mirror, seat = self._mirror()
        path = self._path(production, mirror)
        rollouts = RolloutPath(
            path,
            read=self._read_rollout,
            fingerprint=self._fingerprint,
            load=partial(self._servings.canary, loaded),
            publish=self._metrics.share,
        )
        explain = self._settings.explain
        edge = Edge(
            path=path,
            explain=ExplainPath(
                ErrandClient(explainer_socket_path(self._environment)) if explain.process else None,
                deadline=explain.deadline_ms / 1000,
                max_rows=explain.max_rows,
                explained=self._metrics.explained,
            ),
            unfit=None,
            routes=self._routes(loaded, doubts, rollouts),
            limits=self._limits(),
            responded=self._metrics.responded,
            admin_token=self._environment.admin_token,
            tell=self._telling.passed,
            drawing=self._telling.drawing,
        )
        self._ready.said(self._settings.production, "production", True)
        process.settle_memory()
        flush_seconds = self._settings.shadow.flush_ms / 1000
        following = self._following if self._settings.uncertainty.adapt else None
        presence = Presence(edges_path(self._settings, self._environment))
        return EdgeProcess(
            edge, self._metrics, mirror, rollouts, flush_seconds, self._telling, following, presence, seat
        )

    def _path(self, production: Serving, mirror: Mirror | None) -> PredictPath:
        limits = self._settings.limits
        return PredictPath(
            production,
            mirror,
            deadline=limits.deadline_ms / 1000,
            canary_deadline=limits.canary_deadline_ms / 1000,
            fell_back=self._telling.fell_back,
        )

    def _routes(self, loaded: Loaded, doubts: Doubts | None, rollouts: RolloutPath) -> dict[str, Route]:
        settings, spec = self._settings, loaded.bundle.spec
        limits, explain = settings.limits, settings.explain
        sure = HttpDoubts(
            cannot(spec.tag) if doubts is None else doubts.check,
            settings.uncertainty.always,
            self._servings.may_abstain(loaded),
        )
        about = Described(
            spec,
            loaded.bundle.binding,
            limits.max_rows,
            loaded.bundle.manifest.expected,
            bundles.example_of(loaded.bundle),
            sure.abstains,
        )
        return routes(
            about,
            __version__,
            Limits(
                limits.max_rows,
                WishLimits(explain.most_evals, explain.longest_deadline_ms / 1000),
                explain.max_evals,
            ),
            self._metrics.violated,
            self._sources(loaded, rollouts),
            sure,
            settings.candidates,
            self._feedback(spec),
            replay_page(settings, self._environment, loaded.bundle),
        )

    def _sources(self, loaded: Loaded, rollouts: RolloutPath) -> Sources:
        page = self._page()
        findings = FindingsReader(shared_directory(self._settings, self._environment))
        shown = Shown(
            self._settings, self._environment, loaded, self._ledger, self._following, page, findings
        )
        production, candidates = self._settings.production, self._settings.candidates
        return Sources(
            models=shown.models,
            rollout=rollouts.describe,
            report=shown.report,
            drift=shown.drift,
            metrics=page.text,
            global_views={tag: partial(global_views, tag) for tag in candidates}
            | {production: loaded.bundle.global_views},
            uncertainty={tag: partial(uncertainty, tag) for tag in candidates}
            | {production: partial(uncertainty_of, loaded.bundle)},
        )

    def _page(self) -> prometheus.Page:
        where = self._settings, self._environment
        return prometheus.Page(
            self._registry, self._ledger, distributions_page_path(*where), metrics_directories(*where)
        )

    def _feedback(self, spec: ModelSpec) -> FeedbackPage | None:
        wanted = self._settings.feedback
        if not wanted.enabled:
            return None
        store = LazyStore(self._environment, wanted.write_ms / 1000)
        metrics = FeedbackMetrics(self._registry)
        path = FeedbackPath(filing(store), deadline=wanted.write_ms / 1000, told=metrics.told)
        return FeedbackPage(spec, self._settings.limits.max_rows, path)

    def _mirror(self) -> tuple[Mirror, Presence] | tuple[None, None]:
        if self._ledger is None:
            return None, None
        shadow, seats = self._settings.shadow, Seats(shared_directory(self._settings, self._environment))
        sender, seat = seats.take(self._worker)
        bury_vacant(self._ledger, seats)
        mirror = Mirror(
            socket_path(self._settings, self._environment),
            self._ledger,
            sender,
            sample_rate=shadow.sample_rate,
            room_bytes=shadow.buffer_bytes,
        )
        return mirror, seat

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

    def _unfit(self, reason: str) -> EdgeProcess:
        edge = Edge(
            path=None,
            explain=None,
            unfit=reason,
            routes=health(reason, self._page().text),
            limits=self._limits(),
            responded=self._metrics.responded,
            admin_token=None,
            tell=self._telling.passed,
        )
        return EdgeProcess(edge, self._metrics, None, None, 1.0, self._telling)
