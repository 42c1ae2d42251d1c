"""A bundle's measures of uncertainty, ready for requests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import get_args

from models.bundle import Bundle
from service.adapters.second_graphs import open_graphs
from service.domain.uncertainty.measure import Graph, Kind, Quantity
from service.domain.uncertainty.percentile import Domain
from service.domain.uncertainty.quantifier import Quantifier
from service.domain.uncertainty.registry import BY_NAME
from service.errors import BundleError


def quantifier_of(
    bundle: Bundle, *, providers: Sequence[str], threads: int, graphs: Collection[Graph] = get_args(Graph)
) -> Quantifier | None:
    """What the bundle can say about how sure its model is; None where it was packaged without measures.

    Args:
        bundle: the model's.
        providers: execution providers of second graphs to try in order.
        threads: of one run of those.
        graphs: those to open; measures that need another one cannot be asked.

    Raises:
        BundleError: a part cannot be read, or the manifest relies on a measure that the bundle does not have.
    """
    report = bundle.uncertainty()
    if report is None:
        _check_nothing_relied_on(bundle)
        return None
    spec, entry = bundle.spec, bundle.manifest.uncertainty
    passes = report.get("passes", entry.passes)
    if entry.passes != passes:  # without them two probabilities of one network would pass for two members
        raise BundleError(
            f"{spec.tag}: uncertainty.passes is {entry.passes}, and the measures were fitted to {passes}; "
            "package it anew"
        )
    paths = {graph: path for graph in graphs if (path := bundle.graph_path(graph)) is not None}
    _, run = open_graphs(
        paths, spec, bundle.binding, passes=entry.passes, providers=providers, threads=threads
    )
    quantities = _restored(bundle, report["measures"])
    chosen = {kind: _chosen(kind, bundle, report["chosen"], quantities[kind]) for kind in get_args(Kind)}
    for reason, kind in (("ambiguous", "region"), ("out_of_domain", "domain")):
        if reason in entry.abstain and chosen[kind] is None:
            raise BundleError(f"{spec.tag}: it is to abstain when {reason}, and has no measure of the {kind}")
    return Quantifier(spec, quantities, chosen, entry.confidence, run)


def _check_nothing_relied_on(bundle: Bundle) -> None:
    """A model that is to abstain must not answer everything because what decides it was left out."""
    entry = bundle.manifest.uncertainty
    relied = [kind for kind in get_args(Kind) if getattr(entry, kind, "auto") != "auto"]
    if entry.abstain:
        relied.append("abstain")
    if relied:
        named = ", ".join(f"uncertainty.{name}" for name in relied)
        raise BundleError(
            f"{bundle.spec.tag}: {named}: the bundle was packaged without measures of uncertainty"
        )


def _restored(bundle: Bundle, names: Iterable[str]) -> dict[Kind, dict[str, Quantity]]:
    spec, arrays = bundle.spec, bundle.measures()
    found: dict[Kind, dict[str, Quantity]] = {kind: {} for kind in get_args(Kind)}
    for name in names:
        measure = BY_NAME.get(name)
        if measure is None:
            raise BundleError(f"{spec.tag}: its measure {name!r} is unknown to this version of the service")
        quantity = measure.restore(spec, arrays.get(name, {}))
        if isinstance(quantity, Domain):  # the manifest may have been edited since packaging
            quantity = quantity.at(bundle.manifest.uncertainty.in_domain_percentile)
        found[measure.kind][name] = quantity
    return found


def _chosen(
    kind: Kind, bundle: Bundle, by_packaging: Mapping[str, str | None], known: Mapping[str, Quantity]
) -> str | None:
    """The manifest's choice, which may have been edited since, or packaging's."""
    wanted: str = getattr(bundle.manifest.uncertainty, kind, "auto")
    if wanted == "auto":
        return by_packaging.get(kind)
    if wanted not in known:
        has = ", ".join(known) or "none"
        raise BundleError(f"{bundle.spec.tag}: uncertainty.{kind} is {wanted!r}, and the bundle has {has}")
    return wanted
