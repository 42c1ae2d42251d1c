"""Bundles in the BentoML model store, one entry each; the only importer of BentoML in ``models``.

The store lives under ``BENTOML_HOME`` (default ``~/bentoml``), read once per process.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import bentoml

from models.bundle import open_bundle
from models.manifest import MANIFEST_NAME
from service.errors import BundleError

TAG = re.compile(r"[a-z0-9][a-z0-9._-]*:[a-z0-9][a-z0-9._-]*")
LABELS = {"kind": "understudy-bundle"}


def save(directory: Path, *, force: bool = False) -> Path:
    """Copies the bundle in ``directory`` into the store; returns where it lies there.

    Raises:
        BundleError: the bundle is damaged, or its tag is taken and ``force`` is not set.
    """
    bundle = open_bundle(directory)
    tag = bundle.spec.tag
    taken = exists(tag)
    if taken and not force:
        raise BundleError(f"{tag} is already in the model store; --force replaces it")
    try:
        with bentoml.models.create(tag, labels=LABELS, metadata={"digest": bundle.digest}) as entry:
            for name in (MANIFEST_NAME, *bundle.manifest.digests):
                shutil.copyfile(directory / name, Path(entry.path_of(name)))
            if taken:  # as late as can be: a copy that fails leaves the old entry in place
                bentoml.models.delete(tag)
    except bentoml.exceptions.BentoMLException as error:
        raise BundleError(f"the model store refuses {tag}: {error}") from error
    return locate(tag)


def locate(tag: str) -> Path:
    """The directory of ``NAME:VERSION`` in the store.

    Raises:
        BundleError: the tag is malformed or not in the store.
    """
    if not TAG.fullmatch(tag):
        raise BundleError(f"{tag!r} is not a bundle tag; write NAME:VERSION, for example credit:gbm-1")
    try:
        return Path(bentoml.models.get(tag).path)
    except bentoml.exceptions.NotFound as error:
        raise BundleError(
            f"{tag} is not in the model store; `python -m models list` shows what is"
        ) from error


def exists(tag: str) -> bool:
    """Whether ``locate`` would find the tag."""
    try:
        locate(tag)
    except BundleError:
        return False
    return True


def list_bundles() -> list[str]:
    """Tags of every bundle in the store, sorted; entries that are no bundles are left out."""
    tags = (str(entry.tag) for entry in bentoml.models.list() if (Path(entry.path) / MANIFEST_NAME).is_file())
    return sorted(tags)
