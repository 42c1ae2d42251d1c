"""The BentoML services: ``bentoml serve service.app:Predictor`` starts the edge and its shadow."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import bentoml
from bentoml import server_context

from service.errors import ConfigurationError
from service.http import protocol
from service.http.app import App, EdgeApp
from service.http.edge import Edge
from service.http.stopping import stop_gently
from service.settings import read_environment, read_settings
from service.wiring.logs import log_to_stderr
from service.wiring.priority import yield_the_cpu

if TYPE_CHECKING:
    from service.wiring.edge import EdgeProcess

try:
    ENVIRONMENT = read_environment()
    SETTINGS = read_settings(ENVIRONMENT.config)
except ConfigurationError as error:
    sys.exit(f"understudy: {error}")

if SETTINGS.log.format == "json":  # BentoML's supervisor imports this too, and has lines of its own
    log_to_stderr(SETTINGS.log, behind=True)

IDLE = {"Shadow": SETTINGS.shadow.idle_priority, "Explainer": SETTINGS.explain.idle_priority}
"""Services whose processes get only CPU that nobody else wants; so do their children, from the start on."""
if any(idle and service in sys.argv for service, idle in IDLE.items()):  # in BentoML's worker of that service
    yield_the_cpu()

LEAN: dict[str, Any] = {
    "tracing": {"excluded_urls": ".*"},
    "logging": {"access": {"enabled": False}},
    "metrics": {"enabled": False},
    "traffic": {"timeout": 10},
    "runner_probe": {"enabled": False},
}
"""BentoML's own work per request, switched off: ours is done in ``service.http.app``."""


_running: list[EdgeProcess] = []
"""The edge of this process, once the service has been built."""


def current_edge() -> Edge:
    """What answers this process's requests."""
    return _running[-1].edge


class EdgeService(bentoml.Service[Any]):
    """A service whose own routes are answered in front of BentoML's stack.

    ``Service.add_asgi_middleware`` would put them behind a timer, a second task and a URL match for
    each request, which about doubles what a request costs apart from its model.
    """

    def to_asgi(self, is_main: bool = True) -> App:
        """BentoML's application, with ours in front."""
        app = EdgeApp(super().to_asgi(is_main=is_main), current_edge)
        protocol.install(app)
        return app


@bentoml.service(name="Shadow", workers=1, **LEAN)
class Shadow:
    """Keeps ``python -m service.shadow`` running, which sees the same rows as production.

    In a child, because BentoML would start a crashed shadow again at the priority of the edge, import
    itself there, and the edge would wait for that.
    """

    def __init__(self) -> None:
        from service.wiring.children import shadow_child

        self._child = shadow_child(SETTINGS.log)
        self._child.start()

    @bentoml.on_shutdown
    def stop(self) -> None:
        """Lets the child work off what is queued, and what the edge still sends."""
        from service.wiring.stopping import await_edges

        self._child.let_end()  # BentoML's supervisor told it to end as well
        await_edges(SETTINGS, ENVIRONMENT)
        self._child.stop()


@bentoml.service(name="Explainer", workers=1, **LEAN)
class Explainer:
    """Explanations that take longer than an inference, in a process of low priority."""

    def __init__(self) -> None:
        from service.wiring.explainer import ExplainerBuilder

        self._process = ExplainerBuilder(SETTINGS, ENVIRONMENT).build()
        self._process.start()

    @bentoml.on_shutdown
    def stop(self) -> None:
        """Hangs up, once the edge asks no more."""
        from service.wiring.stopping import await_edges

        await_edges(SETTINGS, ENVIRONMENT)
        self._process.stop()


@bentoml.service(name="Predictor", service_class=EdgeService, workers=SETTINGS.server.workers, **LEAN)
class Predictor:
    """Answers callers from the production model, and mirrors every answer to the shadow."""

    if SETTINGS.mirrors and SETTINGS.shadow.supervised:
        shadow = bentoml.depends(Shadow)
    if SETTINGS.explain.process:
        explainer = bentoml.depends(Explainer)

    @bentoml.on_deployment
    @staticmethod
    def supervise() -> None:
        """Prepares BentoML's supervisor, in its own process."""
        from service.wiring.supervisor import supervise

        supervise()

    def __init__(self) -> None:
        from service.wiring.edge import EdgeBuilder

        self._process = EdgeBuilder(SETTINGS, ENVIRONMENT, server_context.worker_index or 0).build()
        _running.append(self._process)

    @bentoml.on_startup
    async def start(self) -> None:
        """Starts what runs beside the requests."""
        await self._process.start()
        stop_gently(protocol.installed(), SETTINGS.server.drain_seconds)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Hands over what is left."""
        await self._process.stop()

    @bentoml.api(route="/predict")
    async def predict(
        self,
        instances: list[dict[str, Any] | list[Any]],
        request_id: str | None = None,
        routing_key: str | None = None,
        explain: bool | dict[str, Any] | None = None,
        uncertainty: bool | dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Predictions for rows given as objects by feature name, or as arrays in schema order.

        ``explain`` and ``uncertainty`` ask why, and how sure: true, or an object of options.
        """
        document = {
            "instances": instances,
            "request_id": request_id,
            "routing_key": routing_key,
            "explain": explain,
            "uncertainty": uncertainty,
        }
        return await self._process.predict(document)
