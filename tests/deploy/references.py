"""What objects name in each other: labels, what is scaled or routed to, volumes and their sources.

Every function takes all objects of a composition and says what is wrong, by object and place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.deploy.manifests import (
    FOLDER,
    Document,
    Documents,
    Pod,
    called,
    containers,
    found,
    of_kind,
    pods,
    value,
)

SELECTORS: Mapping[str, str] = {
    "Service": "spec.selector",
    "PodDisruptionBudget": "spec.selector",
    "NetworkPolicy": "spec.podSelector",
    "PodMonitor": "spec.selector",
}
"""Where a kind says which pods it is about."""
REFERENCES = ("scaleTargetRef", "targetRef", "autoscalerRef", "workloadRef")
NAME = "app.kubernetes.io/name"
OWNING = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Rollout")
SOURCES: Mapping[str, tuple[str, str]] = {
    "configMap": ("ConfigMap", "name"),
    "secret": ("Secret", "secretName"),
    "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
}
"""By kind of volume: the kind of object it is filled from, and the key of its name."""


def chooses(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector, or a Service's plain mapping, takes these labels; an empty one takes all."""
    if not {"matchLabels", "matchExpressions"} & set(selector):
        return selector.items() <= labels.items()
    for each in selector.get("matchExpressions", ()):
        inside, there = labels.get(each["key"]) in each.get("values", ()), each["key"] in labels
        truths = {"In": inside, "NotIn": not inside, "Exists": there, "DoesNotExist": not there}
        if not truths[each["operator"]]:
            return False
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def takes_all(selector: Mapping[str, Any] | None) -> bool:
    """Whether there is a selector, and it asks for nothing."""
    return selector is not None and not any(selector.values())


def chosen(documents: Documents, document: Document) -> list[Pod]:
    """The pods that an object is about."""
    selector = value(document, SELECTORS[document["kind"]])
    return [] if selector is None else [pod for pod in pods(documents) if chooses(selector, pod.labels)]


def selector_problems(documents: Documents) -> list[str]:
    """Selectors that find nothing, and those by which an owner or a spread would not find its own pods."""
    problems = [
        f"{called(each)} {SELECTORS[each['kind']]}: finds no pod"
        for each in of_kind(documents, *SELECTORS)
        if not chosen(documents, each)
    ]
    problems += [
        f"{called(each)} {SELECTORS[each['kind']]}: without {NAME} others' pods may be meant"
        for each in of_kind(documents, *SELECTORS)
        if NAME not in str(value(each, SELECTORS[each["kind"]]))
    ]
    problems += [
        f"{called(each)} spec.selector: finds no Service"
        for each in of_kind(documents, "ServiceMonitor")
        if not any(True for _ in monitored(documents, each))
    ]
    for pod in pods(documents):
        own: list[tuple[str, Any]] = []
        if pod.owner["kind"] in OWNING:
            own.append((f"{called(pod.owner)} spec.selector", value(pod.owner, "spec.selector")))
        for place, each in enumerate(pod.spec.get("topologySpreadConstraints", ())):
            where = f"{pod.where}.topologySpreadConstraints[{place}]"
            own.append((where, each.get("labelSelector")))
        problems += [
            f"{where}: does not find its own pods"
            for where, selector in own
            if not selector or not chooses(selector, pod.labels)
        ]
        problems += [
            f"{where}: without {NAME} others' pods may be meant"
            for where, selector in own
            if NAME not in str(selector)
        ]
    return problems


def target_problems(documents: Documents) -> list[str]:
    """Objects that are named and not there."""
    wanted: list[tuple[str, str, str]] = []
    problems: list[str] = []
    for each in documents:
        name, kind = called(each), each["kind"]
        wanted += [
            (f"{name} spec.{key}", reference.get("kind", "Deployment"), reference["name"])
            for key in REFERENCES
            if (reference := value(each, f"spec.{key}"))
        ]
        problems += [
            f"{name} spec.{key}.apiVersion: is not that of {reference['kind']}/{reference['name']}"
            for key in REFERENCES
            if (reference := value(each, f"spec.{key}"))
            and (target := found(documents, reference.get("kind", "Deployment"), reference["name"]))
            and reference.get("apiVersion") != target["apiVersion"]
        ]
        if kind == "StatefulSet":
            wanted.append((f"{name} spec.serviceName", "Service", value(each, "spec.serviceName", "")))
        if kind == "Rollout":
            wanted += [
                (f"{name} spec.strategy.canary.steps", "AnalysisTemplate", template["templateName"])
                for step in value(each, "spec.strategy.canary.steps", ())
                for template in step.get("analysis", {}).get("templates", ())
            ]
        if kind == "Canary":
            wanted += [
                (f"{name} spec.analysis.metrics", "MetricTemplate", metric["templateRef"]["name"])
                for metric in value(each, "spec.analysis.metrics", ())
                if "templateRef" in metric
            ]
        if kind == "HTTPRoute":
            wanted += [(f"{name} spec.rules", "Service", backend["name"]) for backend in backends(each)]
    wanted += [
        (f"{pod.where}.serviceAccountName", "ServiceAccount", pod.spec["serviceAccountName"])
        for pod in pods(documents)
        if "serviceAccountName" in pod.spec
    ]
    problems += [
        f"{where}: there is no {kind}/{name}"
        for where, kind, name in wanted
        if not found(documents, kind, name)
    ]
    return problems


def volume_problems(documents: Documents) -> list[str]:
    """Volumes that are mounted and not there, that nobody mounts, or that come from nowhere."""
    problems: list[str] = []
    for pod in pods(documents):
        claimed = {each["metadata"]["name"] for each in value(pod.owner, "spec.volumeClaimTemplates", ())}
        volumes = {each["name"]: each for each in pod.spec.get("volumes", ())}
        used: set[str] = set()
        for where, container in containers(pod):
            mounts = container.get("volumeMounts", ())
            used |= {mount["name"] for mount in mounts}
            problems += [
                f"{where}.volumeMounts[{mount['name']}]: there is no such volume"
                for mount in mounts
                if mount["name"] not in volumes.keys() | claimed
            ]
            paths = [mount["mountPath"] for mount in mounts]
            problems += [f"{where}.volumeMounts: {path} is mounted twice" for path in repeated(paths)]
        problems += [
            f"{pod.where}.volumes[{name}]: nobody mounts it"
            for name in sorted((volumes.keys() | claimed) - used)
        ]
        for name, volume in volumes.items():
            problems += [f"{pod.where}.volumes[{name}]: {why}" for why in _unknown_source(documents, volume)]
            if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
                problems.append(f"{pod.where}.volumes[{name}]: grows without a limit")
        for where, container in containers(pod):
            problems += [
                f"{where}.env[{name}]: {why}" for name, why in _unknown_variables(documents, container)
            ]
        for claim in value(pod.owner, "spec.volumeClaimTemplates", ()):
            where = f"{called(pod.owner)} spec.volumeClaimTemplates"
            problems += [f"{where}[{claim['metadata']['name']}].{lack}" for lack in _unclaimed(claim)]
    for claim in of_kind(documents, "PersistentVolumeClaim"):
        problems += [f"{called(claim)} {lack}" for lack in _unclaimed(claim)]
    return problems


def monitored(documents: Documents, monitor: Document) -> Iterator[Document]:
    """The Services that a ServiceMonitor is about."""
    for service in of_kind(documents, "Service"):
        if chooses(value(monitor, "spec.selector"), service["metadata"].get("labels", {})):
            yield service


def backends(route: Document) -> list[Document]:
    """Where an HTTPRoute sends to."""
    return [each for rule in value(route, "spec.rules", ()) for each in rule.get("backendRefs", ())]


def repeated(items: list[str]) -> list[str]:
    """What is there more than once."""
    return sorted({each for each in items if items.count(each) > 1})


def documented(name: str) -> bool:
    """Whether the user is told about a Secret, a claim or the like that no manifest makes."""
    return bool(name) and (f"`{name}`" in _README or f" {name} " in _README)


_README = (FOLDER / "README.md").read_text(encoding="utf-8")


def _unknown_source(documents: Documents, volume: Document) -> Iterator[str]:
    if len(volume) == 1:
        yield "does not say what it is"
    for key, (kind, naming) in SOURCES.items():
        if key not in volume:
            continue
        name = volume[key].get(naming, "")
        source = found(documents, kind, name)
        if source is None and not (kind != "ConfigMap" and documented(name)):
            yield f"there is no {kind}/{name}, and README.md says nothing of it"
        elif source is not None:
            for item in volume[key].get("items", ()):
                if item["key"] not in source.get("data", {}):
                    yield f"{kind}/{name} has no key {item['key']}"


def _unknown_variables(documents: Documents, container: Document) -> Iterator[tuple[str, str]]:
    for each in container.get("env", ()):
        if not each.get("value") and not any(each.get("valueFrom", {}).values()):
            yield each["name"], "has no value"
        for key, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
            if reference := value(each, f"valueFrom.{key}"):
                name = reference.get("name", "")
                source = found(documents, kind, name)
                if source is None and not (kind == "Secret" and documented(name)):
                    yield each["name"], f"there is no {kind}/{name}, and README.md says nothing of it"
                elif (
                    source is None
                    and f"key `{reference['key']}`" not in _README
                    and (f"{name} --from-file={reference['key']}=" not in _README)
                ):
                    yield each["name"], f"README.md names no key {reference['key']} of {name}"
                elif source is not None and reference["key"] not in {
                    **source.get("data", {}), **source.get("stringData", {})
                }:  # fmt: skip
                    yield each["name"], f"{kind}/{name} has no key {reference['key']}"
    for name in repeated([each["name"] for each in container.get("env", ())]):
        yield name, "is set twice"


def _unclaimed(claim: Document) -> Iterator[str]:
    """What Kubernetes asks of a claim, and its schema does not."""
    for path in ("spec.accessModes[0]", "spec.resources.requests.storage"):
        if value(claim, path) is None:
            yield f"{path}: is not given"
