"""Bundles in the model store: kept as they are, found by tag, never replaced by accident."""

from __future__ import annotations

import uuid
from pathlib import Path

import bentoml
import pytest

from models import store
from models.bundle import Bundle, open_bundle
from models.packaging import package
from service.errors import BundleError
from tests.models.graphs import tiny


@pytest.fixture
def fresh(tmp_path: Path) -> Bundle:
    """A bundle under a version that the store does not have."""
    small = tiny("tensor")
    manifest = small.manifest.model_copy(update={"version": f"v{uuid.uuid4().hex[:8]}"})
    return package(small.graph, manifest, small.material, tmp_path / "fresh")


def test_a_saved_bundle_is_found_listed_and_unaltered(fresh: Bundle) -> None:
    tag = fresh.spec.tag
    assert not store.exists(tag)
    path = store.save(fresh.path)
    assert store.exists(tag)
    assert store.locate(tag) == path
    assert tag in store.list_bundles()
    assert open_bundle(path).manifest == fresh.manifest


def test_refuses_to_replace_an_entry_unless_told_to(fresh: Bundle, tmp_path: Path) -> None:
    store.save(fresh.path)
    small = tiny("tensor")
    changed = fresh.manifest.model_copy(update={"threshold": 0.7})
    other = package(small.graph, changed, small.material, tmp_path / "other")
    with pytest.raises(BundleError, match="already in the model store"):
        store.save(other.path)
    assert open_bundle(store.locate(fresh.spec.tag)).spec.threshold == 0.5
    store.save(other.path, force=True)
    assert open_bundle(store.locate(fresh.spec.tag)).spec.threshold == 0.7


def test_refuses_to_save_a_damaged_bundle(fresh: Bundle) -> None:
    fresh.model_path.write_bytes(b"")
    with pytest.raises(BundleError, match="altered"):
        store.save(fresh.path)
    assert not store.exists(fresh.spec.tag)


def test_an_unknown_tag_is_named_with_how_to_list_what_is_there() -> None:
    with pytest.raises(BundleError, match=r"tiny:nowhere .*python -m models list"):
        store.locate("tiny:nowhere")


@pytest.mark.parametrize("tag", ["credit", "credit:", ":v1", "a:b:c", "Credit:V1", "../x:y", "", "a b:c"])
def test_refuses_what_is_not_a_tag(tag: str) -> None:
    with pytest.raises(BundleError, match="NAME:VERSION"):
        store.locate(tag)


def test_other_entries_of_the_store_are_not_listed() -> None:
    tag = f"other:{uuid.uuid4().hex[:8]}"
    with bentoml.models.create(tag) as entry:
        Path(entry.path_of("weights.bin")).write_bytes(b"")
    assert tag not in store.list_bundles()
