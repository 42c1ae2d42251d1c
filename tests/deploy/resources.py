"""What containers are made of and may use: images that stay, requests, limits, volumes that fill up."""

from __future__ import annotations

import re

from tests.deploy.manifests import Documents, containers, pods, value

PLACEHOLDER = "understudy"
"""The image that the user names: ``kustomize edit set image understudy=…``."""
PINNED = re.compile(r"[^@]+(:(?!latest$)[\w][\w.-]*|@sha256:[0-9a-f]{64})")
REQUESTED = ("cpu", "memory", "ephemeral-storage")
LIMITED = ("memory", "ephemeral-storage")
UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def image_problems(documents: Documents) -> list[str]:
    """Images of no certain version; ours is named by the user."""
    return [
        f"{where}.image: {container.get('image')} has no tag or digest that stays"
        for pod in pods(documents)
        for where, container in containers(pod)
        if container.get("image") != PLACEHOLDER and not PINNED.fullmatch(str(container.get("image", "")))
    ]


def resource_problems(documents: Documents) -> list[str]:
    """Containers of which a node does not know what they need, or that may take all of it."""
    problems: list[str] = []
    for pod in pods(documents):
        room = 0.0
        for where, container in containers(pod):
            requests, limits = (value(container, f"resources.{key}", {}) for key in ("requests", "limits"))
            problems += [
                f"{where}.resources.{kind}: says nothing of {name}"
                for kind, given, wanted in (("requests", requests, REQUESTED), ("limits", limits, LIMITED))
                for name in wanted
                if name not in given
            ]
            problems += [
                f"{where}.resources: requests more {name} than its limit"
                for name in requests.keys() & limits.keys()
                if quantity(requests[name]) > quantity(limits[name])
            ]
            room += quantity(limits.get("ephemeral-storage", "0"))
        kept = [each["emptyDir"] or {} for each in pod.spec.get("volumes", ()) if "emptyDir" in each]
        full = sum(quantity(each.get("sizeLimit", "0")) for each in kept if each.get("medium") != "Memory")
        if full > room:
            problems.append(
                f"{pod.where}: its volumes may hold {full:g} bytes, and a pod of {room:g} is evicted"
            )
    return problems


def quantity(text: str | float) -> float:
    """In base units; raises ``ValueError`` where it is no quantity of Kubernetes."""
    read = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text))
    if read is None or read[2] not in UNITS:
        raise ValueError(f"{text!r} is no quantity")
    return float(read[1]) * UNITS[read[2]]
