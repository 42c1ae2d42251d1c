"""Live coverage in the shadow process, and what the edges hear of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from service.adapters import bundles, process
from service.adapters.bundles import Loaded
from service.adapters.coverage_metrics import CoverageMetrics
from service.adapters.quantities import quantifier_of
from service.domain.projection import projection
from service.domain.uncertainty.measure import Asked, Graph
from service.errors import UnderstudyError
from service.paths.coverage import Coverage, Watched
from service.settings import Environment, Settings
from service.wiring.shared import adaptation_path

log = logging.getLogger("understudy.coverage")

KEY = 32
"""Hexadecimal digits of a bundle's digest that tell it from every other."""
GRAPHS: tuple[Graph, ...] = ("quantiles", "members")
"""What a region may have to ask."""


def watched_models(
    settings: Settings, environment: Environment, production: Loaded, candidates: Sequence[Loaded | None]
) -> dict[int, Watched]:
    """The regions of every model that has some, production's under 0, then each candidate's.

    Args:
        candidates: in configuration order; None for those that could not be loaded.
    """
    found: dict[int, Watched] = {}
    for number, loaded in enumerate((production, *candidates)):
        try:
            watched = None if loaded is None else _watched(loaded, production, settings, environment)
        except UnderstudyError as error:  # comparisons and records go on without
            log.error("its regions cannot be used: %s", error)
            continue
        if watched is not None:
            found[number] = watched
    return found


def coverage(
    settings: Settings, environment: Environment, watched: dict[int, Watched], metrics: CoverageMetrics
) -> Coverage:
    """What judges labels of one server's answers.

    Args:
        watched: see ``watched_models``.
        metrics: where coverage is counted, and what was promised is told.
    """
    for each in watched.values():
        metrics.promised(each.tag, each.confidence)
    path = adaptation_path(settings, environment)
    return Coverage(
        watched,
        settings.uncertainty.adapt,
        metrics.counted,
        lambda documents: process.write_status(path, documents),
    )


def _watched(
    loaded: Loaded, production: Loaded, settings: Settings, environment: Environment
) -> Watched | None:
    bundle = loaded.bundle
    quantifier = quantifier_of(
        bundle, providers=environment.providers, threads=settings.server.threads, graphs=GRAPHS
    )
    region = None if quantifier is None else quantifier.region()
    if quantifier is None or region is None:
        return None
    rows = bundles.sample_rows(bundle, 1)
    evidence = region.evidence(Asked(rows, loaded.model.predict(rows), run=quantifier.run))
    digest = bundle.digest.removeprefix("sha256:")[:KEY]
    measure = f"{quantifier.chosen['region']} {quantifier.confidence:g}"
    return Watched(
        tag=bundle.spec.tag,
        key=f"regions {measure} {digest} {bundle.spec.tag}"[:255],
        region=region,
        confidence=quantifier.confidence,
        outputs=len(region.thresholds(quantifier.confidence)),
        project=projection(production.bundle.spec, bundle.spec),
        run=quantifier.run,
        width=evidence.shape[1],
    )
