"""Builds what counts rows by bin in the shadow process, and what shows and keeps the counts."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from service.adapters import bundles, process
from service.adapters.bundles import Loaded
from service.adapters.distribution_page import Counted, DistributionPage
from service.adapters.lasting import lasting_counts
from service.adapters.quantities import quantifier_of
from service.domain.binning import Binning
from service.domain.drift.document import Watched, drift_document
from service.domain.drift.slots import TOLD_CELLS, ModelKey, Role
from service.domain.drift.two_sample import TwoSample
from service.domain.schema import FeatureBatch
from service.domain.uncertainty.measure import Asked, Graph
from service.domain.variables import DOMAIN
from service.errors import UnderstudyError
from service.paths.distributions import Account, Arrivals, Distributions
from service.paths.drift_keeper import DriftKeeper, Seen, name_of
from service.paths.looks import Looks, Percentile
from service.settings import Environment, Settings
from service.wiring.recorder import PATIENCE_SECONDS
from service.wiring.shared import (
    distributions_page_path,
    distributions_state_path,
    drift_path,
    shared_directory,
)
from service.wiring.store import LazyStore

log = logging.getLogger("understudy.drift")

DIGITS = 32
"""Of the digest that tells one bundle's rows from any other's."""
GRAPHS: tuple[Graph, ...] = ("reconstruction",)
"""What a measure of the domain may have to ask."""


class Counting(NamedTuple):
    """All that counts rows by bin in one server."""

    arrivals: Arrivals
    candidates: Mapping[str, Distributions]
    """By tag."""
    keeper: DriftKeeper | None
    """None where production is unfit."""


class DriftBuilder:
    """Builds it for one server.

    Args:
        account: the ledger's page.
        tried: told how each try of the store went.
        outcomes: what became of the rows so far.
    """

    def __init__(
        self,
        settings: Settings,
        environment: Environment,
        account: Account,
        tried: Callable[[bool], None] = lambda succeeded: None,  # noqa: ARG005 - nobody is told
        outcomes: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._account = account
        self._tried = tried
        self._outcomes = outcomes

    def unfit(self, reason: str) -> Counting:
        """Counts rows as failed, and says why, in place of what an earlier life has said."""
        process.replace_file(distributions_page_path(self._settings, self._environment), b"")
        document = drift_document((), time.time(), reason=reason)
        process.write_status(drift_path(self._settings, self._environment), document)
        return Counting(Arrivals(self._account), {}, None)

    def build(self, production: Loaded, candidates: Sequence[Loaded]) -> Counting:
        """Counts production's rows, and those of each candidate that runs.

        Raises:
            BundleError: a part of production's bundle cannot be read. A candidate is left out instead.
        """
        first = self._counted(production, "production")
        counted = [first]
        for each in candidates:
            try:
                counted.append(self._counted(each, "candidate"))
            except UnderstudyError as error:
                log.error("rows of %s are not counted by bin: %s", each.bundle.spec.tag, error)
        looks = self._looks(production, first)
        page = DistributionPage(
            [Counted(each.rows.model, each.binning.variables, each.tells) for each in counted]
        )
        return Counting(
            Arrivals(self._account, first.rows, looks),
            {each.rows.model.tag: each.rows for each in counted[1:]},
            self._keeper(counted, page, looks),
        )

    def _counted(self, loaded: Loaded, role: Role) -> _Counted:
        bundle = loaded.bundle
        binning = bundles.binning_of(bundle)
        model = ModelKey(bundle.spec.tag, role, _digest(f"{bundle.digest} {binning.digest}"))
        path = (
            shared_directory(self._settings, self._environment)
            / f"distributions-{_digest(name_of(model))}.bin"
        )
        cells = lasting_counts(path, binning.size + TOLD_CELLS)
        first = role == "production"
        rows = Distributions(model, bundle.spec, binning, cells, self._account if first else None)
        return _Counted(rows, binning, first and self._settings.drift.looks_per_minute > 0)

    def _looks(self, production: Loaded, counted: _Counted) -> Looks | None:
        if not counted.tells:
            return None
        bundle = production.bundle
        watched = any(each.name == DOMAIN for each in counted.binning.variables)
        return Looks(
            counted.rows,
            self._settings.drift.looks_per_minute,
            self._percentile(bundle) if watched else None,
            TwoSample.of(bundle.spec, bundle.background(), 0),
        )

    def _percentile(self, bundle: Bundle) -> Percentile | None:
        quantifier = quantifier_of(
            bundle,
            providers=self._environment.providers,
            threads=self._settings.server.threads,
            graphs=GRAPHS,
        )
        name = None if quantifier is None else quantifier.chosen["domain"]
        if quantifier is None or name is None:
            return None
        measure, run, outputs = quantifier.quantities["domain"][name], quantifier.run, bundle.spec.outputs

        def percentile(rows: FeatureBatch) -> NDArray[np.floating[Any]]:
            nothing = np.zeros((len(rows), outputs), np.float32)  # a domain is one of inputs
            found: NDArray[np.floating[Any]] = measure.columns(Asked(rows, nothing, run=run))[
                "domain_percentile"
            ]
            return found

        return percentile

    def _keeper(
        self, counted: Sequence[_Counted], page: DistributionPage, looks: Looks | None
    ) -> DriftKeeper:
        environment = self._environment
        where = self._settings, environment
        state, shown = distributions_state_path(*where), drift_path(*where)

        def show(counts: Sequence[NDArray[np.float64]]) -> None:
            process.replace_file(distributions_page_path(*where), page.text(counts))

        def publish(seen: Sequence[Seen], store: str, now: float) -> None:
            models = [
                Watched(
                    found.model.tag,
                    found.model.role,
                    each.binning.variables,
                    found.since,
                    found.windows,
                    each.tells,
                )
                for each, found in zip(counted, seen, strict=True)
            ]
            process.write_status(shown, drift_document(models, now, store, outcomes=self._outcomes()))

        return DriftKeeper(
            [each.rows for each in counted],
            LazyStore(environment, PATIENCE_SECONDS, durable=False),
            show,
            publish,
            secrets.token_hex(16),
            look=looks.look if looks is not None else lambda: False,
            keep_days=self._settings.drift.keep_days,
            notes=process.read_status(state),
            remember=lambda notes: process.write_status(state, notes),
            tried=self._tried,
        )


class _Counted(NamedTuple):
    rows: Distributions
    binning: Binning
    tells: bool
    """Whether a two-sample test looks at its rows."""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
