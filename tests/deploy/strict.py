"""Kubernetes' own kinds against its schemas, and metadata of all kinds, as a strict API server takes them."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it brings no types
from kubernetes_validate import utils  # type: ignore[import-untyped]  # it brings no types

from tests.deploy.manifests import Document, Documents, called, written

VERSIONS = ("1.34", "1.35", "1.36", "1.37")
CORE = {"", "apps", "autoscaling", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io"}
"""API groups that every cluster has."""
CUSTOM = {
    "argoproj.io", "flagger.app", "gateway.networking.k8s.io", "keda.sh", "monitoring.coreos.com"
}  # fmt: skip
"""API groups that operators bring."""
METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def group(document: Document) -> str:
    """Of an object's kind; empty for the oldest kinds."""
    before, slash, _ = document["apiVersion"].rpartition("/")
    return before if slash else ""


def core_problems(documents: Documents, version: str = VERSIONS[-1]) -> list[str]:
    """Fields that are unknown, missing or of the wrong type, and kinds that nobody serves."""
    problems = []
    for each in documents:
        if group(each) in CORE:
            try:
                validator = _validator(each["kind"], each["apiVersion"], version)
            except FileNotFoundError:
                problems.append(f"{called(each)}: Kubernetes {version} has no {each['apiVersion']}")
                continue
            problems += [f"{called(each)} {told(each, error)}" for error in validator.iter_errors(each)]
        elif group(each) in CUSTOM:
            problems += [
                f"{called(each)} metadata.{told(each['metadata'], error)}"
                for error in _metadata(version).iter_errors(each["metadata"])
            ]
        else:
            problems.append(f"{called(each)}: nobody serves {each['apiVersion']}")
    return problems


def identity_problems(documents: Documents) -> list[str]:
    """Objects that are there twice, and those that are in another namespace than the rest."""
    seen = Counter((group(each), called(each), each["metadata"].get("namespace")) for each in documents)
    problems = [f"{name}: is there {times} times" for (_, name, _), times in seen.items() if times > 1]
    inside = [each for each in documents if each["kind"] != "Namespace"]
    usual, _ = Counter(each["metadata"].get("namespace") for each in inside).most_common(1)[0]
    problems += [
        f"{called(each)} metadata.namespace: is not {usual}, where the others are"
        for each in inside
        if each["metadata"].get("namespace") != usual
    ]
    return problems


def told(document: Any, error: Any) -> str:
    """Where a document breaks a schema, and how; of alternatives, what the one that fits best lacks."""
    best = jsonschema.exceptions.best_match([error])
    return f"{written(document, best.absolute_path)}: {best.message}"


@cache
def _schema(file: str, version: str) -> Any:
    return utils.schema_contents(f"kubernetes-json-schema/v{_stored(version)}-local-strict/{file}", version)


@cache
def _stored(version: str) -> str:
    """The release whose schemas those of a version are."""
    return next(str(each) for each in utils.all_versions() if utils.major_minor(each) == version)


@cache
def _registry(version: str) -> Any:
    return utils.Resource.from_contents(_schema("_definitions.json", version)) @ utils.Registry()


@cache
def _validator(kind: str, api_version: str, version: str) -> Any:
    name, slash, release = api_version.rpartition("/")
    file = f"{kind.lower()}-{name.split('.')[0]}{'-' if slash else ''}{release}.json"
    schema = _schema(file, version)
    registry = utils.Resource.from_contents(schema) @ _registry(version)
    return jsonschema.Draft202012Validator(schema, registry=registry)


@cache
def _metadata(version: str) -> Any:
    """Of the metadata that every kind has, those of operators too."""
    registry = _registry(version)
    reference = f"{_schema('_definitions.json', version)['$id']}#/$defs/{METADATA}"
    return jsonschema.Draft202012Validator({"$ref": reference}, registry=registry)
