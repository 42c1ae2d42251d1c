"""The bundle command line: ``python -m models package | inspect | list | demo``.

Exit codes: 0 done; 1 ``inspect`` found that the model no longer answers as in training; 2 a mistake in
what was asked or given, told in one line on stderr.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from models import show, store
from models.bundle import open_bundle
from models.canonical import (
    Labels,
    Table,
    canonical_rows,
    label_rows,
    output_rows,
    read_csv,
)
from models.demo import registry
from models.gate import parity
from models.manifest import read_manifest
from models.packaging import Material, package, untried
from service.adapters.onnx import OnnxModel
from service.domain.schema import FeatureBatch, ModelSpec
from service.domain.uncertainty.measure import Graph
from service.errors import BundleError, UnderstudyError

SHARE = 0.2
"""Part of --data set aside for calibration where --calibration is not given."""
SEED = 0

Answer = TypeVar("Answer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")  # no usage reports unless someone wants them
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except (UnderstudyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _package(options: argparse.Namespace) -> int:
    manifest = read_manifest(options.manifest)
    spec = manifest.spec
    if store.exists(spec.tag) and not options.force:
        raise BundleError(f"{spec.tag} is already in the model store; --force replaces it")
    material = _material(spec, options)
    with tempfile.TemporaryDirectory() as folder:
        bundle = package(
            options.model,
            manifest,
            material,
            Path(folder) / "bundle",
            graphs=_graphs(options),
            explain=not options.without_explanations,
            quantify=not options.without_uncertainty,
        )
        path = store.save(bundle.path, force=options.force)
    gaps = untried(spec, material.golden)
    if gaps:
        print(f"note: no golden row shows {', '.join(gaps)}: parity says nothing about these")
    print(f"packaged {spec.tag} ({bundle.digest}) in {path}")
    return 0


def _inspect(options: argparse.Namespace) -> int:
    bundle = open_bundle(store.locate(options.tag))
    model = OnnxModel(bundle.model_path, bundle.spec, bundle.binding)
    report = parity(bundle, model)
    print(show.bundle_text(bundle, report, model.providers))
    return 0 if report.passed else 1


def _list(_: argparse.Namespace) -> int:
    tags = store.list_bundles()
    if not tags:
        print("no bundles yet: `python -m models demo` builds two")
        return 0
    bundles, damaged = [], []
    for tag in tags:
        try:
            bundles.append(open_bundle(store.locate(tag)))
        except BundleError as error:
            damaged.append(f"{tag}  cannot be used: {error}")
    print("\n".join([show.bundle_table(bundles), *damaged]))
    return 0


def _demo(options: argparse.Namespace) -> int:
    for tag in registry.RECIPES if options.all else registry.DEFAULT:
        built = options.force or registry.due(tag)
        try:
            bundle = registry.install(tag, force=options.force)
        except ModuleNotFoundError as error:
            needs = "install requirements-training.lock"
            raise BundleError(f"{tag} cannot be trained without {error.name}: {needs}") from error
        measured = ", ".join(show.measures(bundle.manifest.training))
        print(f"{tag:<16} {'built' if built else 'there already'}: {measured}")
    return 0


def _material(spec: ModelSpec, options: argparse.Namespace) -> Material:
    """Rows of the given files; without --calibration a seeded share of --data is set aside."""
    golden, outputs = _told(options.golden, lambda table: _golden(spec, table))
    rows, labels = _told(options.data, lambda table: _labelled(spec, table, options.target))
    if options.calibration is not None:
        held, held_labels = _told(options.calibration, lambda table: _labelled(spec, table, options.target))
        return Material(rows, held, held_labels, golden, outputs)
    order = np.random.default_rng(SEED).permutation(len(rows))
    aside, kept = np.sort(order[: round(SHARE * len(rows))]), np.sort(order[round(SHARE * len(rows)) :])
    print(
        f"note: {len(aside)} of the {len(rows)} rows of {options.data.name} ({SHARE:.0%}, seed {SEED}) are "
        "set aside for calibration; if the model was trained on them, its uncertainty will look too small. "
        "--calibration gives rows it never saw."
    )
    return Material(rows[kept], rows[aside], labels[aside], golden, outputs)


def _graphs(options: argparse.Namespace) -> dict[Graph, bytes]:
    """The second graphs that were given."""
    files: dict[Graph, Path | None] = {
        "reconstruction": options.reconstruction,
        "quantiles": options.quantiles,
    }
    graphs = {name: path.read_bytes() for name, path in files.items() if path is not None}
    if options.members:
        from models.members import combine  # onnx, which no other command needs

        members = [path.read_bytes() for path in options.members]
        graphs["members"] = combine(members) if len(members) > 1 else members[0]
    return graphs


def _golden(spec: ModelSpec, table: Table) -> tuple[FeatureBatch, np.ndarray]:
    return canonical_rows(spec.schema, table), output_rows(spec, table)


def _labelled(spec: ModelSpec, table: Table, target: str) -> tuple[FeatureBatch, Labels]:
    if target not in table:
        raise BundleError(f"target column {target!r} is not in the data")
    return canonical_rows(spec.schema, table), label_rows(spec, table[target])


def _told(path: Path, read: Callable[[Table], Answer]) -> Answer:
    """What ``read`` makes of the file's columns; its refusals name the file."""
    table = read_csv(path)
    try:
        return read(table)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models", description="Makes and shows model bundles.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    make = commands.add_parser("package", help="make a bundle of an ONNX file and data")
    make.set_defaults(run=_package)
    make.add_argument("--model", type=Path, required=True, help="the ONNX file")
    make.add_argument("--manifest", type=Path, required=True, help="the manifest, without digests")
    make.add_argument("--data", type=Path, required=True, help="CSV of training rows with their target")
    make.add_argument("--target", required=True, help="the target's column in --data and --calibration")
    make.add_argument(
        "--golden",
        type=Path,
        required=True,
        help="CSV of rows with the training framework's own outputs in columns p:CLASS, or value",
    )
    make.add_argument("--calibration", type=Path, help="CSV of rows never used in training, with target")
    make.add_argument("--force", action="store_true", help="replace a bundle of the same tag")
    make.add_argument(
        "--without-explanations",
        action="store_true",
        help="leave out the certificate, the global views and the gradient; minutes for a slow model",
    )
    make.add_argument(
        "--without-uncertainty", action="store_true", help="leave out the measures of uncertainty"
    )
    make.add_argument(
        "--reconstruction", type=Path, help="ONNX file: the inputs to an autoencoder's error for each row"
    )
    make.add_argument(
        "--members",
        type=Path,
        nargs="+",
        help="one ONNX file that answers all members' scores (or, with uncertainty.passes in the manifest, a "
        "random member's), or one file for each member; trees need none",
    )
    make.add_argument("--quantiles", type=Path, help="ONNX file: the inputs to a low and a high quantile")

    look = commands.add_parser("inspect", help="show what is inside a bundle and check parity again")
    look.set_defaults(run=_inspect)
    look.add_argument("tag", metavar="NAME:VERSION")

    table = commands.add_parser("list", help="list the bundles in the model store")
    table.set_defaults(run=_list)

    demo = commands.add_parser("demo", help="build the demo bundles that are missing")
    demo.set_defaults(run=_demo)
    demo.add_argument("--all", action="store_true", help="every demo bundle, not only the two credit ones")
    demo.add_argument("--force", action="store_true", help="build again what is there")
    return parser
