"""Every demo bundle by tag. A recipe's training packages are imported when it runs, not before."""

from __future__ import annotations

import importlib
import tempfile
from filecmp import cmp
from pathlib import Path

from models import store
from models.bundle import Bundle, open_bundle
from models.demo.credit_models import SLICES
from models.demo.recipe import Recipe
from models.packaging import package

DEFAULT = ("credit:gbm-1", "credit:gbm-2")
"""What the service's default configuration serves and shadows."""

RECIPES = {
    "credit:gbm-1": ("models.demo.credit_models", "gbm_1"),
    "credit:gbm-2": ("models.demo.credit_models", "gbm_2"),
    "credit:linear-1": ("models.demo.credit_models", "linear_1"),
    "digits:mlp-1": ("models.demo.toy_models", "digits_mlp"),
    "digits:mlp-2": ("models.demo.toy_models", "digits_mlp_with_autoencoder"),
    "diabetes:gbr-1": ("models.demo.toy_models", "diabetes_gbr"),
    "cancer:xgb-1": ("models.demo.toy_models", "cancer_xgb"),
    "cancer:forest-1": ("models.demo.toy_models", "cancer_forest"),
}
"""Tag to the module and function of its recipe."""


def recipe(tag: str) -> Recipe:
    """The recipe of a demo tag; imports its training packages."""
    module, function = RECIPES[tag]
    found: Recipe = getattr(importlib.import_module(module), function)
    return found


def build(tag: str, directory: Path) -> Bundle:
    """Trains, converts and packages one demo bundle into ``directory``."""
    trained = recipe(tag)()
    return package(
        trained.graph,
        trained.manifest,
        trained.material,
        directory,
        graphs=trained.graphs,
        suite=suite(tag),
    )


def suite(tag: str) -> Path | None:
    """The behavioural suite that a demo bundle is packaged with, or None."""
    path = Path(__file__).with_name(f"{tag.partition(':')[0]}_behaviour.yaml")
    return path if path.exists() else None


def due(tag: str) -> bool:
    """Whether the demo bundle is to be built: it is missing, or an earlier version made it otherwise."""
    if not store.exists(tag):
        return True
    bundle, wanted = open_bundle(store.locate(tag)), suite(tag)
    if wanted is not None and (
        bundle.suite_path is None or not cmp(wanted, bundle.suite_path, shallow=False)
    ):
        return True
    slices = SLICES if tag.startswith("credit:") else ()
    return bundle.uncertainty() is None or bundle.manifest.slices != slices


def install(tag: str, *, force: bool = False) -> Bundle:
    """The demo bundle in the model store, built first if it is ``due`` or ``force`` is set."""
    if force or due(tag):
        with tempfile.TemporaryDirectory() as folder:
            store.save(build(tag, Path(folder) / "bundle").path, force=store.exists(tag))
    return open_bundle(store.locate(tag))
