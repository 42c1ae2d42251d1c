"""Builds the Explainer: every method of every model behind one socket, in a process of low priority."""

from __future__ import annotations

import contextlib
import importlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from models.bundle import Bundle
from service.adapters import bundles, errands, priority, process, subjects
from service.adapters.bundles import Loaded
from service.adapters.cache import ReplyCache
from service.adapters.explainers import METHODS, NEED_SHAP
from service.adapters.logs import log_to_stderr
from service.adapters.onnx import Watchdog
from service.adapters.png import picture_png
from service.domain.explainers.game import Method, Subject, Unsuitable
from service.domain.explainers.linear_exact import LINEAR_EXACT
from service.domain.explainers.offer import Offer, offer
from service.domain.explainers.pair import pair
from service.domain.explainers.permutation import PERMUTATION
from service.domain.explainers.tree_exact import TREE_EXACT
from service.domain.neighbours import Neighbours
from service.domain.pictures import compare_html, page_html, picture_svg
from service.domain.projection import projection
from service.domain.schema import FeatureBatch, Scores
from service.errors import BundleError, ConfigurationError, DeadlineError
from service.paths.explainer import TURN, Compared, Explainable, ExplainerPath
from service.settings import Environment, Settings
from service.wiring.once import Once
from service.wiring.shared import explainer_socket_path, explainer_status_path

log = logging.getLogger("understudy.explainer")

COMPARING = (TREE_EXACT, LINEAR_EXACT, PERMUTATION)
"""Methods that two models can be compared by."""
PATIENCE = 0.5
"""Seconds that a request waits for a model that is being prepared, before its caller has to come again."""


@dataclass(frozen=True, slots=True)
class ExplainerProcess:
    """The running Explainer."""

    server: errands.ErrandServer
    prepare: Callable[[], None]

    def start(self) -> None:
        """Listens at once; production's methods are prepared meanwhile."""
        self.server.start()
        threading.Thread(target=self.prepare, name="prepare", daemon=True).start()

    def stop(self) -> None:
        """Hangs up."""
        self.server.stop()


class LoadedModels:
    """Models by tag, each loaded and prepared when it is first asked for, once; others are not held up."""

    def __init__(self, settings: Settings, environment: Environment, publish: Callable[[Any], None]) -> None:
        self._settings = settings
        self._environment = environment
        self._publish = publish
        self._watchdog = Watchdog()
        self._loaded = Once(self._read)
        self._own = Once(self._prepare)
        self._compared = Once(self._pair)
        self._publishing = threading.Lock()
        self._status: dict[str, Any] = {}

    def own(self, tag: str) -> Explainable:
        """A model relative to its own background."""
        with _by_name(tag):
            return self._own.get(tag, PATIENCE)

    def prepare(self, tag: str) -> None:
        """Makes ready what is mostly asked for, however long it takes."""
        with _by_name(tag):
            self._own.get(tag)
            if tag != self._settings.production:
                self._compared.get((tag, "auto"))

    def beside_production(self, tag: str, method: str) -> Compared:
        """Production and a candidate, both relative to production's background."""
        if method not in ("auto", *(each.name for each in COMPARING)):
            names = ", ".join(each.name for each in COMPARING)
            raise Unsuitable(f"two models are compared by {names}, not by {method!r}")
        with _by_name(tag):
            return self._compared.get((tag, method), PATIENCE)

    def _prepare(self, tag: str) -> Explainable:
        loaded = self._loaded.get(tag)
        subject = self._subject(loaded)
        certificate = loaded.bundle.certificate()

        def broken(method: str, error: Exception) -> None:
            log.error("%s fails on %s", method, tag, exc_info=error)

        found = offer(subject, self._methods(), subjects.forbidden_by(certificate), broken)
        production = self._loaded.get(self._settings.production).bundle.spec
        project = projection(production, loaded.bundle.spec)
        log.info("%s can be explained by %s", tag, ", ".join(found.explainers))
        with self._publishing:
            self._status[tag] = _described(found)
            self._publish(self._status)
        return Explainable(found, subjects.narrator(loaded.bundle, subject, _nearest(loaded.bundle)), project)

    def _methods(self) -> tuple[Method, ...]:
        if self._settings.explain.shap:
            return METHODS
        return tuple(method for method in METHODS if method not in NEED_SHAP)

    def _pair(self, key: tuple[str, str]) -> Compared:
        tag, method = key
        methods = [each for each in COMPARING if method in ("auto", each.name)]
        first, second = self._loaded.get(self._settings.production), self._loaded.get(tag)
        forbidden = subjects.forbidden_by(first.bundle.certificate())
        production = offer(self._subject(first), methods, forbidden)
        candidate = self._subject(second)
        found = pair(
            production,
            candidate,
            projection(first.bundle.spec, second.bundle.spec),
            methods,
            forbidden=subjects.forbidden_by(second.bundle.certificate()),
            max_evals=self._settings.explain.max_evals,
        )
        mine = subjects.narrator(first.bundle, production.subject)
        certificate = subjects.certificate_digest(second.bundle.certificate())
        its = second.bundle.spec if found.exact else replace(candidate.spec, schema=mine.spec.schema)
        theirs = replace(mine, spec=its, players=found.candidate.players, certificate=certificate)
        return Compared(found, mine, theirs)

    def _read(self, tag: str) -> Loaded:
        threads = self._settings.server.threads
        return bundles.load(tag, providers=self._environment.providers, threads=threads)

    def _subject(self, loaded: Loaded) -> Subject:
        """The model under the watchdog: rows that a method makes up must not hang a thread for ever."""
        seconds = self._settings.explain.longest_deadline_ms / 1000

        def predict(rows: FeatureBatch) -> Scores:
            turn = TURN.get()
            if turn is None:  # it is being prepared
                return self._watchdog.predict(loaded.model, rows, time.monotonic() + seconds)
            if not turn.wanted():
                raise DeadlineError("nobody waits for this explanation any more")
            return self._watchdog.predict(loaded.model, rows, turn.due)

        return replace(
            subjects.subject_of(loaded.bundle, loaded.model, loaded.bundle.gradient_path), predict=predict
        )


@contextlib.contextmanager
def _by_name(tag: str) -> Iterator[None]:
    """A model that cannot be loaded, or does not fit production, is one that cannot be explained."""
    try:
        yield
    except (BundleError, ConfigurationError) as error:
        raise Unsuitable(f"{tag} cannot be explained: {error}") from error


class ExplainerBuilder:
    """Builds the Explainer of one server."""

    def __init__(self, settings: Settings, environment: Environment) -> None:
        log_to_stderr(settings.log)
        process.keep_memory()
        self._settings = settings
        self._environment = environment
        if settings.explain.idle_priority and not priority.yield_the_cpu():
            log.warning("the kernel refuses SCHED_IDLE; the explainer competes for CPU like any process")

    def build(self) -> ExplainerProcess:
        """The Explainer, not yet listening."""
        settings = self._settings
        path = explainer_status_path(self._environment)
        models = LoadedModels(settings, self._environment, lambda status: process.write_status(path, status))
        shapes = _Shapes(models, settings.production)
        journey = ExplainerPath(
            models,
            ReplyCache(settings.explain.cache_bytes),
            write={"svg": shapes.svg, "png": shapes.png, "html": shapes.html},
            write_comparison={"html": lambda response, _: compare_html(response)},
        )
        server = errands.ErrandServer(
            explainer_socket_path(self._environment),
            journey.work,
            queue=settings.explain.queue,
            threads=settings.explain.threads,
        )
        return ExplainerProcess(server, lambda: self._prepare(models))

    def _prepare(self, models: LoadedModels) -> None:
        for tag in (self._settings.production, *self._settings.candidates):
            try:
                models.prepare(tag)
            except Unsuitable as error:
                log.warning("%s", error)
            except Exception:  # the others can be explained all the same
                log.exception("%s cannot be explained", tag)
        if self._settings.explain.shap:
            importlib.import_module("shap")  # seconds that the first to ask for it should not wait
        process.settle_memory()


@dataclass(frozen=True, slots=True)
class _Shapes:
    """Pictures and pages, with the image that an image model saw."""

    models: LoadedModels
    production: str

    def svg(self, response: dict[str, Any], rows: FeatureBatch) -> bytes:
        return picture_svg(response["explanations"][0], response["model"], self._image(rows[0]))

    def png(self, response: dict[str, Any], rows: FeatureBatch) -> bytes:
        return picture_png(response["explanations"][0], response["model"], self._image(rows[0]))

    def html(self, response: dict[str, Any], rows: FeatureBatch) -> bytes:
        return page_html(response, [self._image(row) for row in rows])

    def _image(self, row: FeatureBatch) -> dict[str, Any] | None:
        schema = self.models.own(self.production).narrator.spec.schema
        if schema.layout != "image":
            return None
        return {"shape": list(schema.shape), "pixels": row.tolist()}


def _described(found: Offer) -> dict[str, Any]:
    """What ``/models`` says of a model's explanations."""
    return {"methods": sorted(found.explainers), "refused": dict(sorted(found.refused.items()))}


def _nearest(bundle: Bundle) -> Callable[[FeatureBatch, int], list[dict[str, Any]]]:
    """Finds the rows with known outcomes that are most like one row."""
    rows, _, labels = bundle.calibration()
    return Neighbours(rows, labels, bundle.spec).nearest
