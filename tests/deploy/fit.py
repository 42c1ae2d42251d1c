"""Whether what manifests say of the service is so: settings, routes, folders, seconds, metrics.

Every function takes all objects of a composition and says what is wrong, by object and place.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import yaml

from deploy import metrics
from deploy.prometheus import recording
from service.errors import ConfigurationError
from service.http.openapi import OPERATIONS
from service.settings import Settings, read_environment, read_settings
from service.wiring.stopping import edge_patience
from tests.deploy.manifests import (
    Document,
    Documents,
    Pod,
    called,
    containers,
    found,
    leaves,
    of_kind,
    pods,
    value,
)
from tests.deploy.probes import PROBES
from tests.deploy.resources import quantity

SECRET = {
    "UNDERSTUDY_STORE_URL": "postgresql+psycopg://u@host/understudy",
    "UNDERSTUDY_ADMIN_TOKEN": "t" * 32,
}
"""In place of what Secrets hold."""
OPTIONAL = {
    "UNDERSTUDY_STORE_URL": (False, "evidence ends with the pod where the Secret is missing"),
    "UNDERSTUDY_ADMIN_TOKEN": (True, "no pod starts without administration"),
}
"""Whether what a Secret holds may be missing, and what follows from the other."""
SHADOW = ["python", "-m", "service.shadow", "--keep"]
ASKED = {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
WRITABLE = ("/tmp", "/var/lib/understudy")
BUNDLES = "/var/lib/bentoml/models"
SHADOWS_SECONDS = 8.0
"""For what is queued, once the edge is gone."""
FAMILY = re.compile(r"\bunderstudy_[a-z0-9_]+")
RECORDED = re.compile(r"\bunderstudy:[a-z0-9_]+(?::[a-z0-9_]+)?")
QUERIES = {"expr", "query", "url"}


def ours(documents: Documents) -> Iterator[tuple[Pod, dict[str, Document]]]:
    """Pods of the service, with their containers by name."""
    for pod in pods(documents):
        named = {each["name"]: each for _, each in containers(pod) if "name" in each}
        if "edge" in named:
            yield pod, named


def setting_problems(documents: Documents) -> list[str]:
    """Variables and keys that the service does not take, and two containers that would not meet."""
    problems: list[str] = []
    if not list(ours(documents)):
        return ["no pod has a container edge"]
    for pod, named in ours(documents):
        if "shadow" not in named:
            problems.append(f"{pod.where}.containers: there is no shadow")
        read: list[Settings] = []
        for name in {"edge", "shadow"} & named.keys():
            where, given = f"{pod.where}.containers[{name}].env", variables(named[name])
            try:
                settings, environment = settings_of(documents, pod, named[name]), read_environment(given)
            except (ConfigurationError, LookupError) as error:
                problems.append(f"{where}: {error.args[0]}")
                continue
            read.append(settings)
            problems += [
                f"{where}[{key}]: {why}"
                for key, (wanted, why) in OPTIONAL.items()
                if key in given
                and bool(value(named[name], f"env[{key}].valueFrom.secretKeyRef.optional")) != wanted
            ]
            if settings.shadow.supervised:
                problems.append(f"{where}: the edge would start a shadow of its own")
            if environment.store_url is None:
                problems.append(f"{where}: without UNDERSTUDY_STORE_URL evidence ends with the pod")
            if str(environment.home) not in _mounts(named[name]):
                problems.append(f"{where}: UNDERSTUDY_HOME {environment.home} is no volume")
        if any(each.candidates != read[0].candidates or each.shadow != read[0].shadow for each in read):
            problems.append(f"{pod.where}: edge and shadow have different settings and would never meet")
    return problems


def settings_of(documents: Documents, pod: Pod, container: Document) -> Settings:
    """What the service reads in a container.

    Raises ``ConfigurationError`` as the service would, ``LookupError`` where the file is not mounted.
    """
    given = variables(container)
    file = PurePosixPath(given.get("UNDERSTUDY_CONFIG", ""))
    volume: Document = next(
        (
            each
            for each in pod.spec.get("volumes", ())
            if each["name"] == _mounts(container).get(str(file.parent))
        ),
        {},
    )
    source = found(documents, "ConfigMap", value(volume, "configMap.name", ""))
    text = value(source, "data", {}).get(file.name)
    if text is None:
        raise LookupError(f"UNDERSTUDY_CONFIG {file} is in no ConfigMap that is mounted")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file.name
        path.write_text(text, encoding="utf-8")
        return read_settings(path, given)


def variables(container: Document) -> dict[str, str]:
    """Of a container, with something in place of secrets."""
    return {
        each["name"]: each.get("value", SECRET.get(each["name"], "secret"))
        for each in container.get("env", ())
    }


def route_problems(documents: Documents) -> list[str]:
    """Paths that the service does not have, and probes that ask for the wrong thing."""
    problems: list[str] = []
    for pod, named in ours(documents):
        for probe, path in ASKED.items():
            asked = value(named["edge"], f"{probe}.httpGet.path")
            if asked != path:
                problems.append(f"{pod.where}.containers[edge].{probe}: asks for {asked} instead of {path}")
            if (path, "GET") not in OPERATIONS:
                problems.append(f"{pod.where}.containers[edge].{probe}: the service has no {path}")
    paths = {path for path, _ in OPERATIONS}
    for each in documents:
        for where, path in _asked_paths(each):
            if not any(known == path or known.startswith(f"{path}/") for known in paths):
                problems.append(f"{called(each)} {where}: the service has no {path}")
    return problems


def isolation_problems(documents: Documents) -> list[str]:
    """Ways in which a candidate could take the pod off the air."""
    problems: list[str] = []
    for pod, named in ours(documents):
        shadow, edge = named.get("shadow", {}), named["edge"]
        where = f"{pod.where}.containers"
        problems += [
            f"{where}[shadow].{probe}: takes the pod out of its Service"
            for probe in PROBES
            if probe in shadow
        ]
        problems += [f"{where}[edge].{probe}: is not there" for probe in PROBES if probe not in edge]
        if shadow.get("command") != SHADOW:
            problems.append(f"{where}[shadow].command: is not {' '.join(SHADOW)}")
        if "command" in edge or "args" in edge:
            problems.append(f"{where}[edge].command: is not the image's")
        if shadow.get("image") != edge.get("image"):
            problems.append(f"{where}[shadow].image: is another one than the edge's")
        if "cpu" not in value(shadow, "resources.limits", {}):
            problems.append(f"{where}[shadow].resources.limits: a candidate may take every CPU")
        if "cpu" in value(edge, "resources.limits", {}):
            problems.append(f"{where}[edge].resources.limits: throttling would be seen in the answers")
        if quantity(value(shadow, "resources.requests.cpu", "0")) > quantity(
            value(edge, "resources.requests.cpu", "0")
        ):
            problems.append(
                f"{where}[shadow].resources.requests: its share of a busy node is above the edge's"
            )
        strategy = value(pod.owner, "spec.strategy", {})
        surge, away = (
            value(strategy, "rollingUpdate.maxSurge", 0),
            value(strategy, "rollingUpdate.maxUnavailable", 1),
        )
        if pod.owner["kind"] == "Deployment" and (
            strategy.get("type") != "RollingUpdate" or away != 0 or not surge
        ):
            problems.append(
                f"{called(pod.owner)} spec.strategy: fewer pods than wanted answer during a rollout"
            )
    return problems


def folder_problems(documents: Documents) -> list[str]:
    """What the service writes to is a volume of its own, and edge and shadow meet in one."""
    problems: list[str] = []
    for pod, named in ours(documents):
        for name in {"edge", "shadow"} & named.keys():
            where, mounts = f"{pod.where}.containers[{name}].volumeMounts", _mounts(named[name])
            problems += [f"{where}: {path} must be writable" for path in WRITABLE if path not in mounts]
            for mount in named[name].get("volumeMounts", ()):
                if mount["mountPath"] in WRITABLE and mount.get("readOnly"):
                    problems.append(f"{where}: {mount['mountPath']} must be writable")
                if mount["mountPath"].startswith(("/etc/", BUNDLES)) and not mount.get("readOnly"):
                    problems.append(f"{where}: {mount['mountPath']} is not read-only")
                if "subPath" in mount:
                    problems.append(f"{where}: what changes in {mount['mountPath']} is not seen (subPath)")
        edge, shadow = (_mounts(named.get(name, {})) for name in ("edge", "shadow"))
        if edge.get(WRITABLE[1]) != shadow.get(WRITABLE[1]):
            problems.append(f"{pod.where}: edge and shadow do not meet in {WRITABLE[1]}")
        if edge.get(BUNDLES) != shadow.get(BUNDLES):
            problems.append(f"{pod.where}: edge and shadow have different bundles in {BUNDLES}")
        if edge.get(WRITABLE[0]) == shadow.get(WRITABLE[0]):
            problems.append(f"{pod.where}: edge and shadow share {WRITABLE[0]}, which one of them may fill")
    return problems


def patience_problems(documents: Documents) -> list[str]:
    """Pods that are killed before they have stopped."""
    problems: list[str] = []
    for pod, named in ours(documents):
        given = pod.spec.get("terminationGracePeriodSeconds", 30)
        pauses = {name: pause(named.get(name, {})) for name in ("edge", "shadow")}
        problems += [
            f"{pod.where}.containers[{name}].lifecycle: SIGTERM comes while callers are sent here"
            for name, seconds in pauses.items()
            if seconds is None
        ]
        before, after = pauses["edge"] or 0.0, pauses["shadow"] or 0.0
        if after < before:
            problems.append(f"{pod.where}.containers[shadow].lifecycle: it does not outlive the edge")
        try:
            settings = settings_of(documents, pod, named["edge"])
        except (ConfigurationError, LookupError):
            continue  # setting_problems says so
        if settings.server.drain_seconds <= 5:
            problems.append(f"{pod.where}: server.drain_seconds is shorter than a connection may be silent")
        longest = max(before, after) + edge_patience(settings) + SHADOWS_SECONDS
        if longest >= given:
            where = f"{pod.where}.terminationGracePeriodSeconds"
            problems.append(f"{where}: a stop takes {longest:g} s, and {given} are given")
    return problems


def pause(container: Document) -> float | None:
    """Seconds before SIGTERM; None where there is no pause."""
    command = value(container, "lifecycle.preStop.exec.command", ())
    if len(command) == 2 and command[0] == "sleep" and re.fullmatch(r"\d+", command[1]):
        return float(command[1])
    seconds = value(container, "lifecycle.preStop.sleep.seconds")
    return None if seconds is None else float(seconds)


def metric_problems(documents: Documents) -> list[str]:
    """Metrics that nobody exports or records, and pods that are scraped under a name that no rule knows."""
    recorded = known_recorded() | {
        rule["record"]
        for each in of_kind(documents, "PrometheusRule")
        for group in value(each, "spec.groups", ())
        for rule in group.get("rules", ())
        if "record" in rule
    }
    problems: list[str] = []
    for each in documents:
        for path in leaves(each):
            query = value(each, path)
            if not isinstance(query, str) or path.rpartition(".")[2] not in QUERIES:
                continue
            problems += [
                f"{called(each)} {path}: nobody exports {name}"
                for name in sorted(set(FAMILY.findall(query)) - exported())
            ]
            problems += [
                f"{called(each)} {path}: nobody records {name}"
                for name in sorted(set(RECORDED.findall(query)) - recorded)
            ]
    for each in of_kind(documents, "PodMonitor"):
        if "jobLabel" not in each["spec"] and each["metadata"]["name"] != "understudy":
            problems.append(f"{called(each)} metadata.name: rules look for the job understudy")
    return problems


@cache
def exported() -> frozenset[str]:
    """Names as queries have them."""
    names = {each.name for each in metrics.families()}
    return frozenset(names | {f"{name}_{end}" for name in names for end in ("bucket", "sum", "count")})


@cache
def known_recorded() -> frozenset[str]:
    """Names of the recording rules of deploy/prometheus."""
    path = Path(recording.__file__).with_name("recording.yml")
    groups = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    return frozenset(rule["record"] for group in groups for rule in group["rules"])


def _mounts(container: Document) -> dict[str, str]:
    """Volume by path."""
    return {each["mountPath"]: each["name"] for each in container.get("volumeMounts", ())}


def _asked_paths(document: Document) -> Iterator[tuple[str, str]]:
    """Paths of the service that gateways, monitors and analyses ask for."""
    for rule in value(document, "spec.rules", ()) if document["kind"] == "HTTPRoute" else ():
        for match in rule.get("matches", ()):
            yield "spec.rules", value(match, "path.value", "/")
    for match in value(document, "spec.service.match", ()) if document["kind"] == "Canary" else ():
        yield from (("spec.service.match", path) for path in match.get("uri", {}).values())
    for key in ("podMetricsEndpoints", "endpoints"):
        for endpoint in value(document, f"spec.{key}", ()) if document["kind"].endswith("Monitor") else ():
            yield f"spec.{key}", endpoint.get("path", "/metrics")
    for metric in value(document, "spec.metrics", ()) if document["kind"] == "AnalysisTemplate" else ():
        if url := value(metric, "provider.web.url"):
            yield f"spec.metrics[{metric['name']}]", urlsplit(re.sub(r"{{[^}]*}}", "x", url)).path
