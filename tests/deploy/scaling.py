"""Who says how many replicas there are, and how many of them may be away."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping

from tests.deploy.manifests import Document, Documents, called, containers, found, of_kind, pods, value
from tests.deploy.references import chosen

LEAST: Mapping[str, str] = {
    "HorizontalPodAutoscaler": "spec.minReplicas",
    "ScaledObject": "spec.minReplicaCount",
}
MOST: Mapping[str, str] = {
    "HorizontalPodAutoscaler": "spec.maxReplicas",
    "ScaledObject": "spec.maxReplicaCount",
}
BEHAVIOR: Mapping[str, str] = {
    "HorizontalPodAutoscaler": "spec.behavior",
    "ScaledObject": "spec.advanced.horizontalPodAutoscalerConfig.behavior",
}
METRICS: Mapping[str, str] = {"HorizontalPodAutoscaler": "spec.metrics", "ScaledObject": "spec.triggers"}
TRIGGERS: Mapping[str, tuple[str, ...]] = {
    "prometheus": ("serverAddress", "query", "threshold"),
    "cpu": ("value", "containerName"),
}
"""By kind of trigger what it has to be told."""
CALM_SECONDS = 600
"""New replicas start slowly, and a lull of some minutes is none."""
SPREAD = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
NONE_GIVEN: Mapping[str, int] = {"HorizontalPodAutoscaler": 1, "ScaledObject": 0}
"""Replicas at least, where nothing says so."""


def scaling_problems(documents: Documents) -> list[str]:
    """Two that scale the same, one that scales to nothing, and counts that each `apply` would undo."""
    problems: list[str] = []
    scalers: dict[str, list[Document]] = defaultdict(list)
    for each in of_kind(documents, *LEAST):
        target = value(each, "spec.scaleTargetRef", {})
        scalers[f"{target.get('kind', 'Deployment')}/{target.get('name')}"].append(each)
        least = value(each, LEAST[each["kind"]], NONE_GIVEN[each["kind"]])
        most = value(each, MOST[each["kind"]], math.inf)
        problems += [
            f"{called(each)} {path}: is not given"
            for path in (LEAST[each["kind"]], MOST[each["kind"]])
            if value(each, path) is None
        ]
        if least < 1:
            problems.append(f"{called(each)} {LEAST[each['kind']]}: nobody would answer")
        if least > most:
            problems.append(f"{called(each)} {MOST[each['kind']]}: is below the least of {least}")
        problems += _container_problems(documents, each, str(target.get("name")))
        problems += _pace_problems(each)
    for target, both in scalers.items():
        if len(both) > 1:
            names = " and ".join(sorted(called(each) for each in both))
            problems.append(f"{target}: is scaled by {names}")
        kind, _, name = target.partition("/")
        scaled = found(documents, kind, name)
        if scaled and "replicas" in scaled["spec"]:
            problems.append(f"{target} spec.replicas: undoes what {called(both[0])} decided")
    return problems


def budget_problems(documents: Documents) -> list[str]:
    """Budgets that let no pod go, or all of them, and pods that a node's drain may end all at once."""
    problems: list[str] = []
    budgets = list(of_kind(documents, "PodDisruptionBudget"))
    for budget in budgets:
        where = f"{called(budget)} spec"
        least, most = value(budget, "spec.minAvailable"), value(budget, "spec.maxUnavailable")
        if value(budget, "spec.unhealthyPodEvictionPolicy") != "AlwaysAllow":
            problems.append(
                f"{where}.unhealthyPodEvictionPolicy: a pod that is not ready holds up a node's drain"
            )
        if (least is None) == (most is None):
            problems.append(f"{where}: names not one of minAvailable and maxUnavailable")
        for pod in chosen(documents, budget):
            count = replicas(documents, pod.owner)
            if least is not None and _share(least, count) >= count:
                problems.append(f"{where}.minAvailable: of {count} pods of {called(pod.owner)} none may go")
            if most is not None and _share(most, count) < 1:
                problems.append(f"{where}.maxUnavailable: of {count} pods of {called(pod.owner)} none may go")
            if most is not None and count > 1 and _share(most, count) >= count:
                problems.append(f"{where}.maxUnavailable: all pods of {called(pod.owner)} may go at once")
    guarded = {called(pod.owner) for budget in budgets for pod in chosen(documents, budget)}
    problems += [
        f"{called(pod.owner)}: no PodDisruptionBudget is about its {count} pods"
        for pod in pods(documents)
        if (count := replicas(documents, pod.owner)) > 1 and called(pod.owner) not in guarded
    ]
    return problems


def spread_problems(documents: Documents) -> list[str]:
    """Several pods that may all be on one node, or in one zone."""
    return [
        f"{pod.where}.topologySpreadConstraints: says nothing of {key}"
        for pod in pods(documents)
        if replicas(documents, pod.owner) > 1
        for key in SPREAD
        if key not in {each["topologyKey"] for each in pod.spec.get("topologySpreadConstraints", ())}
    ]


def replicas(documents: Documents, owner: Document) -> int:
    """At least so many are wanted."""
    names = {called(owner)} | {
        called(each)
        for each in of_kind(documents, "Rollout")
        if value(each, "spec.workloadRef.name") == owner["metadata"]["name"]
    }
    for each in of_kind(documents, *LEAST):
        target = value(each, "spec.scaleTargetRef", {})
        if f"{target.get('kind', 'Deployment')}/{target.get('name')}" in names:
            return int(value(each, LEAST[each["kind"]], NONE_GIVEN[each["kind"]]))
    return int(value(owner, "spec.replicas", 1))


def _pace_problems(scaler: Document) -> list[str]:
    """Reasons to scale that are none, and ways down that are steeper than a load may fall for a moment."""
    kind, name = scaler["kind"], called(scaler)
    problems = []
    if not value(scaler, METRICS[kind]):
        problems.append(f"{name} {METRICS[kind]}: nothing is a reason to scale")
    problems += [
        f"{name} {METRICS[kind]}[{place}]: names no aim"
        for place, metric in enumerate(value(scaler, METRICS[kind], ()))
        if kind == "HorizontalPodAutoscaler"
        and not value(metric, "containerResource.target.averageUtilization")
    ]
    problems += list(_trigger_problems(scaler)) if kind == "ScaledObject" else []
    down = value(scaler, f"{BEHAVIOR[kind]}.scaleDown", {})
    if not down.get("policies"):
        problems.append(f"{name} {BEHAVIOR[kind]}.scaleDown.policies: all may go at once")
    if down.get("stabilizationWindowSeconds", 300) < CALM_SECONDS:
        problems.append(f"{name} {BEHAVIOR[kind]}.scaleDown: replicas go before {CALM_SECONDS} s of calm")
    return problems


def _trigger_problems(scaler: Document) -> Iterator[str]:
    """What KEDA asks of a trigger, and answers of Prometheus that would send replicas home for no reason."""
    name = called(scaler)
    if value(scaler, "spec.fallback.replicas") is None:
        yield f"{name} spec.fallback: nobody says how many there are while Prometheus is away"
    for trigger in value(scaler, "spec.triggers", ()):
        where, given = f"{name} spec.triggers[{trigger['type']}]", trigger.get("metadata", {})
        for key in TRIGGERS.get(trigger["type"], ()):
            if key not in given:
                yield f"{where}.metadata.{key}: is not given"
        if trigger["type"] == "prometheus" and given.get("ignoreNullValues") != "false":
            yield f"{where}.metadata.ignoreNullValues: no answer would count as no request"


def _share(given: int | str, count: int) -> int:
    """Of so many pods; percentages round up, as Kubernetes does for both keys of a budget."""
    return math.ceil(int(given[:-1]) * count / 100) if isinstance(given, str) else given


def _container_problems(documents: Documents, scaler: Document, name: str) -> list[str]:
    """Containers whose use is asked for and that are not there, or of whose request nothing is said."""
    asked = [
        (metric["containerResource"]["container"], metric["containerResource"]["name"])
        for metric in value(scaler, "spec.metrics", ())
        if "containerResource" in metric
    ] + [
        (trigger["metadata"]["containerName"], trigger["type"])
        for trigger in value(scaler, "spec.triggers", ())
        if trigger["type"] in ("cpu", "memory") and "containerName" in trigger["metadata"]
    ]
    there = {
        container["name"]: container
        for pod in pods(documents)
        if pod.owner["metadata"]["name"] == name
        for _, container in containers(pod)
    }
    problems = []
    for container, resource in asked:
        if container not in there:
            problems.append(f"{called(scaler)}: {name} has no container {container}")
        elif value(there[container], f"resources.requests.{resource}") is None:
            problems.append(f"{called(scaler)}: {container} requests no {resource}, of which it is a share")
    return problems
