"""The bundle command line: ``python -m models package | inspect | check | evaluate | list | demo``.

Exit codes: 0 done; 1 ``inspect`` found that the model no longer answers as in training, or ``check`` that it
fails its behavioural suite; 2 a mistake in what was asked or given, told in one line on stderr.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from models import show, store
from models.asking import on_cpu
from models.behaviour import run_suite
from models.behaviour_suite import read_suite
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
from models.pair import pair_of
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
    if options.allow_failing and options.behaviour is None:
        raise BundleError("--allow-failing goes with --behaviour")
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
            suite=options.behaviour,
            allow_failing=options.allow_failing,
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


def _check(options: argparse.Namespace) -> int:
    bundle = open_bundle(store.locate(options.tag))
    path = options.suite or bundle.suite_path
    if path is None:
        raise BundleError(f"{options.tag} has no behavioural suite of its own; give one by --suite")
    document = run_suite(read_suite(path), bundle, on_cpu(bundle)).as_document()
    print(json.dumps(document) if options.json else show.behaviour_text(options.tag, document))
    return 0 if document["passed"] else 1


def _evaluate(options: argparse.Namespace) -> int:
    from models.evaluation import evaluate  # scipy's statistics, which no other command needs

    production, candidate = (
        open_bundle(store.locate(tag)) for tag in (options.production, options.candidate)
    )
    pair_of(production, candidate)  # models that cannot be compared are no fault of the file
    document = _told(
        options.data,
        lambda table: evaluate(
            production,
            candidate,
            table,
            options.target,
            confidence=options.confidence,
            seed=options.seed,
        ),
    )
    print(json.dumps(document) if options.json else show.evaluation_text(document))
    return 0


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


def _confidence(text: str) -> float:
    try:
        confidence = float(text)
    except ValueError:
        confidence = math.nan
    if not 0.5 <= confidence <= 0.999:
        raise argparse.ArgumentTypeError(f"{text} is no number between 0.5 and 0.999")
    return confidence


def _seed(text: str) -> int:
    seed = int(text)
    if seed < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return seed


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
    make.add_argument(
        "--behaviour", type=Path, metavar="FILE", help="a behavioural suite that the model must pass"
    )
    make.add_argument(
        "--allow-failing", action="store_true", help="package a model that fails its behavioural suite"
    )

    look = commands.add_parser("inspect", help="show what is inside a bundle and check parity again")
    look.set_defaults(run=_inspect)
    look.add_argument("tag", metavar="NAME:VERSION")

    check = commands.add_parser("check", help="run a bundle's behavioural suite, or another one, against it")
    check.set_defaults(run=_check)
    check.add_argument("tag", metavar="NAME:VERSION")
    check.add_argument("--suite", type=Path, help="a behaviour.yaml, in place of the bundle's own")
    check.add_argument("--json", action="store_true", help="print all that was found as JSON")

    judge = commands.add_parser("evaluate", help="compare two bundles on labelled rows, slice by slice")
    judge.set_defaults(run=_evaluate)
    judge.add_argument("production", metavar="PRODUCTION")
    judge.add_argument("candidate", metavar="CANDIDATE")
    judge.add_argument("--data", type=Path, required=True, help="CSV of rows that neither was trained on")
    judge.add_argument("--target", required=True, help="the column of true labels")
    judge.add_argument("--confidence", type=_confidence, default=0.95, help="of each interval (0.95)")
    judge.add_argument("--seed", type=_seed, default=0, help="of the bootstrap (0)")
    judge.add_argument("--json", action="store_true", help="print all that was found as JSON")

    table = commands.add_parser("list", help="list the bundles in the model store")
    table.set_defaults(run=_list)

    demo = commands.add_parser("demo", help="build the demo bundles that are missing")
    demo.set_defaults(run=_demo)
    demo.add_argument("--all", action="store_true", help="every demo bundle, not only the two credit ones")
    demo.add_argument("--force", action="store_true", help="build again what is there")
    return parser
