"""Ports: those that are probed, served, scraped, routed to, and let through by network policies.

``port_problems`` takes all objects of a composition and says what is wrong, by object and place.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.deploy.manifests import Document, Documents, Pod, called, containers, found, of_kind, pods, value
from tests.deploy.probes import PROBES
from tests.deploy.references import NAME, backends, chooses, chosen, monitored, repeated, takes_all

OUTSIDE = {("TCP", 53), ("UDP", 53), ("TCP", 5432), ("TCP", 4317), ("TCP", 4318)}
"""What the service asks: names, PostgreSQL, and a collector of traces."""


def port_problems(documents: Documents) -> list[str]:
    """Ports that nobody has."""
    return [
        *_probed(documents),
        *_served(documents),
        *_monitors(documents),
        *_let_in(documents),
        *_let_out(documents),
        *_peers(documents),
        *_routed(documents),
    ]


def _ports(container: Document) -> dict[str | int, Document]:
    """By number and by name."""
    ports = container.get("ports", ())
    return {each["containerPort"]: each for each in ports} | {
        each["name"]: each for each in ports if "name" in each
    }


def _pod_ports(pod: Pod) -> set[str | int]:
    return {port for _, container in containers(pod) for port in _ports(container)}


def _probed(documents: Documents) -> Iterator[str]:
    for pod in pods(documents):
        names = [
            port["name"] for _, each in containers(pod) for port in each.get("ports", ()) if "name" in port
        ]
        for name in repeated(names):
            yield f"{pod.where}: two ports are called {name}"
        for where, container in containers(pod):
            for probe in PROBES:
                for action in ("httpGet", "tcpSocket", "grpc"):
                    port = value(container, f"{probe}.{action}.port")
                    if port is not None and port not in _ports(container):
                        yield f"{where}.{probe}: the container has no port {port}"


def _served(documents: Documents) -> Iterator[str]:
    for service in of_kind(documents, "Service"):
        if not value(service, "spec.ports"):
            yield f"{called(service)} spec.ports: serves nothing"
        for port in value(service, "spec.ports", ()):
            if not isinstance(port.get("targetPort"), str):
                yield f"{called(service)} spec.ports: {port['port']} goes to a number, which a pod may change"
            target = port.get("targetPort", port["port"])
            for pod in chosen(documents, service):
                if target not in _pod_ports(pod):
                    where = f"{called(service)} spec.ports[{port.get('name')}]"
                    yield f"{where}: {called(pod.owner)} has no port {target}"


def _monitors(documents: Documents) -> Iterator[str]:
    for monitor in of_kind(documents, "PodMonitor"):
        if not value(monitor, "spec.podMetricsEndpoints"):
            yield f"{called(monitor)} spec.podMetricsEndpoints: scrapes nothing"
        for endpoint in value(monitor, "spec.podMetricsEndpoints", ()):
            port = endpoint.get("port")
            for pod in chosen(documents, monitor):
                if port not in _pod_ports(pod):
                    where = f"{called(monitor)} spec.podMetricsEndpoints"
                    yield f"{where}: {called(pod.owner)} has no port {port}"
    for monitor in of_kind(documents, "ServiceMonitor"):
        for endpoint in value(monitor, "spec.endpoints", ()):
            port = endpoint.get("port")
            for service in monitored(documents, monitor):
                if port not in {each.get("name") for each in value(service, "spec.ports", ())}:
                    yield f"{called(monitor)} spec.endpoints: {called(service)} has no port {port}"


def _let_in(documents: Documents) -> Iterator[str]:
    """Every port that is let in is there, and every port that a Service sends to is let in."""
    for policy in of_kind(documents, "NetworkPolicy"):
        about = chosen(documents, policy)
        rules = value(policy, "spec.ingress", ())
        opened = {port.get("port") for rule in rules for port in rule.get("ports", ())}
        for pod in about:
            for closed in sorted(map(str, opened - _pod_ports(pod))):
                yield f"{called(policy)} spec.ingress: {called(pod.owner)} has no port {closed}"
            for _, container in containers(pod):
                for port, each in _ports(container).items():
                    if not opened & {port, each.get("name"), each["containerPort"]}:
                        of = f"port {port} of {called(pod.owner)}"
                        yield f"{called(policy)} spec.ingress: lets nobody reach {of}"
        both = set(value(policy, "spec.policyTypes", ()))
        if both != {"Ingress", "Egress"}:
            yield f"{called(policy)} spec.policyTypes: one direction is open to all"
    covered = {
        called(pod.owner) for each in of_kind(documents, "NetworkPolicy") for pod in chosen(documents, each)
    }
    for pod in pods(documents):
        if called(pod.owner) not in covered:
            yield f"{pod.where}: no NetworkPolicy is about it"


def _peers(documents: Documents) -> Iterator[str]:
    """Rules of network policies that are open to all."""
    for policy in of_kind(documents, "NetworkPolicy"):
        for direction, key in (("ingress", "from"), ("egress", "to")):
            for place, rule in enumerate(value(policy, f"spec.{direction}", ())):
                where = f"{called(policy)} spec.{direction}[{place}]"
                names_alone = {port.get("port") for port in rule.get("ports", ())} == {53}
                if not rule.get("ports"):
                    yield f"{where}.ports: is about every port"
                if not rule.get(key) and not names_alone:
                    yield f"{where}.{key}: is open to all"
                for peer in rule.get(key, ()):
                    if not peer:
                        yield f"{where}.{key}: somebody is nobody"
                    if direction == "ingress" and "namespaceSelector" not in peer:
                        yield from _inside(documents, policy, where, peer)
                    if direction == "ingress" and takes_all(peer.get("namespaceSelector")):
                        yield f"{where}.{key}: every namespace may come in"
                    if peer.get("ipBlock", {}).get("cidr") in ("0.0.0.0/0", "::/0"):
                        yield f"{where}.{key}: every address is meant"


def _inside(documents: Documents, policy: Document, where: str, peer: Document) -> Iterator[str]:
    """Who of the same namespace comes in; a store has one caller."""
    selector = peer.get("podSelector", {})
    stores = any(pod.owner["kind"] == "StatefulSet" for pod in chosen(documents, policy))
    if stores and NAME not in selector.get("matchLabels", {}):
        yield f"{where}.from: any pod of the namespace may come to the store"
    if selector and not any(chooses(selector, pod.labels) for pod in pods(documents)):
        yield f"{where}.from: finds no pod"


def _let_out(documents: Documents) -> Iterator[str]:
    """The service finds names and its store, and what is let out to pods has some."""
    for policy in of_kind(documents, "NetworkPolicy"):
        rules = value(policy, "spec.egress", ())
        for place, rule in enumerate(rules):
            for each in rule.get("to", ()):
                selector = each.get("podSelector")
                if selector and not any(chooses(selector, pod.labels) for pod in pods(documents)):
                    yield f"{called(policy)} spec.egress[{place}].to: finds no pod"
    for pod in pods(documents):
        if not any(each["name"] == "edge" for _, each in containers(pod)):
            continue
        opened = {
            (port.get("protocol", "TCP"), port.get("port"))
            for policy in of_kind(documents, "NetworkPolicy")
            if pod in chosen(documents, policy)
            for rule in value(policy, "spec.egress", ())
            for port in rule.get("ports", ())
        }
        for protocol, port in sorted(OUTSIDE - opened):
            yield f"{pod.where}: no NetworkPolicy lets it out to {protocol} {port}"


def _routed(documents: Documents) -> Iterator[str]:
    for route in of_kind(documents, "HTTPRoute"):
        if not value(route, "spec.parentRefs"):
            yield f"{called(route)} spec.parentRefs: no gateway takes it"
        if not value(route, "spec.rules"):
            yield f"{called(route)} spec.rules: there are none, which routes everything"
        for place, rule in enumerate(value(route, "spec.rules", ())):
            if not rule.get("matches"):
                yield f"{called(route)} spec.rules[{place}].matches: everything is routed"
            if not rule.get("backendRefs"):
                yield f"{called(route)} spec.rules[{place}].backendRefs: goes nowhere"
    sent = [
        (f"{called(route)} spec.rules", backend["name"], backend.get("port"))
        for route in of_kind(documents, "HTTPRoute")
        for backend in backends(route)
    ]
    sent += [
        (
            f"{called(each)} spec.service.port",
            value(each, "spec.targetRef.name", ""),
            value(each, "spec.service.port"),
        )
        for each in of_kind(documents, "Canary")
    ]
    for where, name, port in sent:
        service = found(documents, "Service", name)
        if service and port not in {each["port"] for each in value(service, "spec.ports", ())}:
            yield f"{where}: Service/{name} has no port {port}"
