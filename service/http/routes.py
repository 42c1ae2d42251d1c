"""Every path that is answered, for one model: what to call, and its name in metrics and documentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from service.domain.uncertainty.quantifier import Doubt
from service.http import kserve, openapi, pages, v2
from service.http.console import console
from service.http.doubts import DoubtReader
from service.http.edge import Page, Post, Route
from service.http.expecting import Violated
from service.http.explain import ExplainCodec
from service.http.instances import InstanceReader
from service.http.kserve import KServeCodec
from service.http.native import NativeCodec
from service.http.openapi_schemas import Described
from service.http.v2 import V2Codec
from service.http.wishes import WishLimits, WishReader


@dataclass(frozen=True, slots=True)
class Sources:
    """Where pages get what they show; each is called anew for each request."""

    models: Callable[[], Any]
    rollout: Callable[[], Any]
    report: Callable[[], Any]
    drift: Callable[[], bytes]
    """JSON, as the shadow has written it."""
    metrics: Callable[[], bytes]
    global_views: Mapping[str, Callable[[], bytes | None]]
    """By tag: the bundle's own JSON about the model as a whole, or None where it has none."""
    uncertainty: Mapping[str, Callable[[], bytes | None]]
    """The same about how sure it is."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What requests may ask for."""

    max_rows: int
    wishes: WishLimits
    default_evals: int


@dataclass(frozen=True, slots=True)
class Doubts:
    """What the model can say about how sure it is."""

    check: Callable[[Doubt], None]
    """Raises ``Unfitting`` for what it cannot."""
    always: bool = False
    """Whether answers say so where the request does not mention it."""
    abstains: bool = False
    """Whether some answers may name no label."""


def health(unfit: str | None, metrics: Callable[[], bytes]) -> dict[str, Route]:
    """What is answered even where nothing can be predicted."""
    live = pages.fixed(v2.server_live())
    found = {
        "/livez": pages.text(b"ok\n"),
        "/healthz": pages.text(b"ok\n"),
        "/readyz": pages.unless(unfit, pages.text(b"ok\n")),
        "/metrics": pages.metrics(metrics),
        "/v2/health/live": live,
        "/v2/health/ready": pages.unless(unfit, pages.fixed(v2.server_ready(True))),
    }
    return {path: Route(path, {"GET": page}) for path, page in found.items()}


def routes(
    about: Described,
    version: str,
    limits: Limits,
    violated: Violated,
    sources: Sources,
    doubts: Doubts,
    candidates: tuple[str, ...] = (),
    feedback: Post | None = None,
    replay: Post | None = None,
) -> dict[str, Route]:
    """Path to route, for a service of this ``version`` whose production model is ``about``."""
    spec, max_rows = about.spec, limits.max_rows
    reader = InstanceReader(spec.schema, max_rows, violated, about.expectations)
    wishes = WishReader(spec, limits.wishes, limits.default_evals)
    found = {
        **health(None, sources.metrics),
        "/predict": Route(
            "/predict", predict=NativeCodec(reader, wishes, DoubtReader(doubts.check, doubts.always))
        ),
        "/explain": Route("/explain", predict=ExplainCodec(reader, wishes), settles=False),
        "/models": _get("/models", pages.json_page(sources.models)),
        "/rollout": _get("/rollout", pages.json_page(sources.rollout)),
        "/shadow/report": _get("/shadow/report", pages.json_page(sources.report)),
        "/drift": _get("/drift", pages.written(sources.drift)),
        "/console": _get("/console", _console(sources)),
        "/v2": _get("/v2", pages.fixed(v2.server_metadata(version))),
        "/v1/models": _get("/v1/models", pages.fixed(kserve.models((spec.name,)))),
        f"/v1/models/{spec.name}": _get("/v1/models/{model}", pages.fixed(kserve.model(spec.name, True))),
        f"/v1/models/{spec.name}:predict": Route("/v1/models/{model}:predict", predict=KServeCodec(reader)),
    }
    explain = ExplainCodec(reader, wishes, kserve=True)
    path = f"/v1/models/{spec.name}:explain"
    found[path] = Route("/v1/models/{model}:explain", predict=explain, settles=False)
    if candidates:
        compare = ExplainCodec(reader, wishes, candidates=candidates)
        found["/explain/compare"] = Route("/explain/compare", predict=compare, settles=False)
    if feedback is not None:
        found["/feedback"] = Route("/feedback", post=feedback)
    if replay is not None:
        found["/shadow/replay"] = Route("/shadow/replay", post=replay, admin=True)
    for tag, views in sources.global_views.items():
        name, _, number = tag.partition(":")
        page = pages.maybe(views, f"{tag} was packaged without global views")
        found[f"/models/{name}/{number}/global"] = _get("/models/{name}/{bundle}/global", page)
    for tag, document in sources.uncertainty.items():
        name, _, number = tag.partition(":")
        page = pages.maybe(document, f"{tag} was packaged without measures of uncertainty")
        found[f"/models/{name}/{number}/uncertainty"] = _get("/models/{name}/{bundle}/uncertainty", page)
    abstains = doubts.abstains
    v2_codec = partial(
        V2Codec,
        spec,
        about.binding,
        max_rows,
        violated,
        abstains=abstains,
        expectations=about.expectations,
    )
    anyone, pinned = v2_codec(), v2_codec(arm="production")
    any_version, one_version = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
    for template, codec in ((any_version, anyone), (one_version, pinned)):
        path = template.format(model=spec.name, version=spec.version)
        metadata = v2.model_metadata(spec, about.binding, (spec.version,), abstains)
        found[path] = _get(template, pages.fixed(metadata))
        found[f"{path}/ready"] = _get(f"{template}/ready", pages.fixed(v2.model_ready(spec.name, True)))
        found[f"{path}/infer"] = Route(f"{template}/infer", predict=codec, content_types=v2.CONTENT_TYPES)
    documented = {route.template: route.methods for route in found.values()} | {"/docs.json": ["GET"]}
    found["/docs.json"] = _get(
        "/docs.json", pages.fixed(openapi.document(about, version, documented, tuple(sources.global_views)))
    )
    return found


def _console(sources: Sources) -> Page:
    def drift() -> Any:
        return orjson.loads(sources.drift())

    return console(sources.report, sources.models, sources.rollout, drift)


def _get(template: str, page: Page) -> Route:
    return Route(template, {"GET": page})
