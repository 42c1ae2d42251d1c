"""A bundle opens only while it is whole and unaltered."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.bundle import BACKGROUND, CALIBRATION, GOLDEN, PARTS, REFERENCE, STORE_FILE, Bundle, open_bundle
from models.manifest import MANIFEST_NAME, read_manifest, write_manifest
from service.errors import BundleError


@pytest.mark.parametrize("name", PARTS)
def test_refuses_an_altered_file_and_names_it(bundle: Bundle, name: str) -> None:
    content = bytearray((bundle.path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle.path / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} was altered"):
        open_bundle(bundle.path)


@pytest.mark.parametrize("name", PARTS)
def test_refuses_a_missing_file_and_names_it(bundle: Bundle, name: str) -> None:
    (bundle.path / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        open_bundle(bundle.path)


@pytest.mark.parametrize("name", ["extra.bin", "folder/extra.bin"])
def test_refuses_an_undeclared_file_and_names_it(bundle: Bundle, name: str) -> None:
    (bundle.path / name).parent.mkdir(exist_ok=True)
    (bundle.path / name).write_bytes(b"")
    with pytest.raises(BundleError, match=f"{name} is not declared"):
        open_bundle(bundle.path)


@pytest.mark.parametrize("name", PARTS)
def test_refuses_a_manifest_without_a_digest_of_a_part(bundle: Bundle, name: str) -> None:
    digests = {part: digest for part, digest in bundle.manifest.digests.items() if part != name}
    write_manifest(bundle.manifest.model_copy(update={"digests": digests}), bundle.path / MANIFEST_NAME)
    with pytest.raises(BundleError, match=f"no digest of {name}"):
        open_bundle(bundle.path)


def test_refuses_a_directory_without_a_manifest(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.path / MANIFEST_NAME).unlink()
    with pytest.raises(BundleError, match=MANIFEST_NAME):
        open_bundle(bundle.path)
    with pytest.raises(BundleError, match="no such bundle"):
        open_bundle(tmp_path / "absent")


def test_lets_the_stores_own_file_lie_beside_it(bundle: Bundle) -> None:
    (bundle.path / STORE_FILE).write_text("name: tiny\n")
    assert open_bundle(bundle.path).digest == bundle.digest


def test_a_moved_bundle_is_the_same_bundle(bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.path, tmp_path / "elsewhere")
    assert open_bundle(tmp_path / "elsewhere").digest == bundle.digest


def test_the_digest_changes_with_any_part_and_not_with_the_description(bundle: Bundle) -> None:
    described = bundle.manifest.model_copy(update={"threshold": 0.7})
    assert Bundle(bundle.path, described).digest == bundle.digest
    for name in PARTS:
        digests = {**bundle.manifest.digests, name: "sha256:" + "0" * 64}
        assert Bundle(bundle.path, described.model_copy(update={"digests": digests})).digest != bundle.digest


class Trap:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_refuses_arrays_that_would_run_code_when_read(bundle: Bundle, tmp_path: Path) -> None:
    _replace(bundle, BACKGROUND, rows=np.array([Trap(tmp_path / "sprung")], dtype=object))
    with pytest.raises(BundleError, match=BACKGROUND):
        open_bundle(bundle.path).background()
    assert not (tmp_path / "sprung").exists()


def test_refuses_rows_of_the_wrong_width_or_type(bundle: Bundle) -> None:
    _replace(bundle, BACKGROUND, rows=np.zeros((2, 5), np.float32))
    with pytest.raises(BundleError, match=r"background\.npz: holds float32 \[2, 5\]"):
        open_bundle(bundle.path).background()
    _replace(bundle, BACKGROUND, rows=np.zeros((2, 3), np.float64))
    with pytest.raises(BundleError, match="rows are float64, the schema's are float32"):
        open_bundle(bundle.path).background()


def test_refuses_golden_outputs_that_do_not_pair_with_inputs(bundle: Bundle) -> None:
    _replace(bundle, GOLDEN, inputs=np.zeros((2, 3), np.float32), outputs=np.zeros((3, 2)))
    with pytest.raises(BundleError, match=r"golden\.npz: holds float64 \[3, 2\]"):
        open_bundle(bundle.path).golden()


def test_refuses_calibration_labels_that_are_no_classes(bundle: Bundle) -> None:
    rows, scores = np.zeros((2, 3), np.float32), np.zeros((2, 2), np.float32)
    _replace(bundle, CALIBRATION, rows=rows, scores=scores, labels=np.array([0, 2]))
    with pytest.raises(BundleError, match="a label is not an index into the classes"):
        open_bundle(bundle.path).calibration()


@pytest.mark.parametrize("content", ["{", "[]", '{"variables": [{"name": "score"}]}'])
def test_refuses_a_reference_it_cannot_read(bundle: Bundle, content: str) -> None:
    (bundle.path / REFERENCE).write_text(content)
    _redeclare(bundle, REFERENCE)
    with pytest.raises(BundleError, match=REFERENCE):
        open_bundle(bundle.path).reference()


def _replace(bundle: Bundle, name: str, **arrays: np.ndarray) -> None:
    """Writes other arrays and declares them, as someone who edits a bundle by hand would."""
    np.savez(bundle.path / name, allow_pickle=True, **arrays)
    _redeclare(bundle, name)


def _redeclare(bundle: Bundle, name: str) -> None:
    manifest = read_manifest(bundle.path / MANIFEST_NAME)
    digest = f"sha256:{hashlib.sha256((bundle.path / name).read_bytes()).hexdigest()}"
    digests = {**manifest.digests, name: digest}
    write_manifest(manifest.model_copy(update={"digests": digests}), bundle.path / MANIFEST_NAME)
