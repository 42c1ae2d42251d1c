"""A behavioural suite run against a model: which checks hold, for what share of rows, and where worst.

The graph that will be served answers, so what packaging finds out is what ``python -m models check`` finds
out again. All rows of a check and all their changes are asked together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.asking import Predicts, answers
from models.behaviour_changes import PIXELS, Variant, variants
from models.behaviour_judges import judge_of
from models.behaviour_suite import Check, MinimumFunctionality, RowsEntry, Suite, read_suite
from models.bundle import BEHAVIOUR, SUITE, Bundle
from models.canonical import canonical_rows
from models.manifest import Manifest
from service.domain.expressions import ExpressionError, compile_expression
from service.domain.schema import FeatureBatch, ModelSpec, Scores, as_posted, label_indices
from service.errors import BundleError, InferenceError

MOST_EXAMPLES = 3
"""Failing rows that are kept of a check, the worst ones."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check found."""

    check: Check
    rows: int
    """Rows that were asked about; those that no change was legal for are not among them."""
    right: int
    """Rows that passed."""
    examples: tuple[Mapping[str, Any], ...]
    """The worst failing rows, ready for JSON, worst first."""

    @property
    def passed(self) -> bool:
        return self.right >= self.check.at_least * self.rows - 1e-9  # 0.95 of 20 rows is 19 rows

    def as_document(self) -> dict[str, Any]:
        return {
            "name": self.check.name,
            "kind": self.check.kind,
            "severity": self.check.severity,
            "passed": self.passed,
            "rows": self.rows,
            "rate": self.right / self.rows,
            "at_least": self.check.at_least,
            "examples": list(self.examples),
        }


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a whole suite found."""

    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Checks of severity ``error`` that do not hold."""
        return tuple(each for each in self.outcomes if not each.passed and each.check.severity == "error")

    @property
    def passed(self) -> bool:
        """Whether the model may be used; a warning does not forbid it."""
        return not self.failed

    def as_document(self) -> dict[str, Any]:
        """As ``behaviour.json`` keeps it."""
        return {"passed": self.passed, "checks": [outcome.as_document() for outcome in self.outcomes]}


def write_behaviour(
    draft: Path, bundle: Bundle, model: Predicts, *, suite: Path, allow_failing: bool = False
) -> Iterable[str]:
    """Adds a copy of the suite, ``behaviour.yaml``, and ``behaviour.json`` to a draft of a bundle.

    Returns:
        The names of the files.

    Raises:
        BundleError: the suite is mistaken, or the model fails a check of severity ``error`` and
            ``allow_failing`` is not set; names the check, its rate and the worst row.
    """
    found = run_suite(read_suite(suite), bundle, model)
    if not found.passed and not allow_failing:
        failures = "; ".join(describe(outcome.as_document()) for outcome in found.failed)
        raise BundleError(f"{bundle.spec.tag} fails its behavioural suite: {failures}")
    (draft / SUITE).write_bytes(suite.read_bytes())
    text = json.dumps(found.as_document(), sort_keys=True, separators=(",", ":"), allow_nan=False)
    (draft / BEHAVIOUR).write_text(text, encoding="utf-8")
    return SUITE, BEHAVIOUR


def run_suite(suite: Suite, bundle: Bundle, model: Predicts) -> Behaviour:
    """Every check, on the bundle's reference rows and the suite's own instances; the same always.

    Raises:
        BundleError: a check asks for what this model does not take or answer, or is about no row; names the
            check and the key.
    """
    background = bundle.background()
    outcomes = []
    for check in suite.checks:
        try:
            outcomes.append(_run(check, bundle.manifest, background, model))
        except (BundleError, InferenceError) as error:
            raise BundleError(f"check {check.name!r}: {error}") from error
    return Behaviour(tuple(outcomes))


def _run(check: Check, manifest: Manifest, background: FeatureBatch, model: Predicts) -> Outcome:
    spec, judge = manifest.spec, judge_of(check, manifest.spec)
    numbers, rows = _chosen(check.on, manifest, background)
    if isinstance(check, MinimumFunctionality):
        found = [Variant(rows, np.ones(len(rows), dtype=np.bool_))]
    else:
        found = variants(manifest, check.change, rows, check.on.seed)
    before, after = _asked(model, rows, found)
    excess = np.full((len(found), len(rows)), -math.inf)
    for index, (variant, scores) in enumerate(zip(found, after, strict=True)):
        excess[index, variant.legal] = judge(before, scores)[variant.legal]
    tried = np.logical_or.reduce([variant.legal for variant in found])
    if not tried.any():
        raise BundleError(f"change: none of {len(rows)} rows could be changed so")
    worst, variant_of = excess.max(axis=0), excess.argmax(axis=0)
    wrong = np.flatnonzero(tried & (worst > 0))
    examples = []
    for row in wrong[np.argsort(-worst[wrong], kind="stable")][:MOST_EXAMPLES]:
        kind = variant_of[row]
        examples.append(
            {
                "row": int(numbers[row]),
                "inputs": _posted(spec, rows[row]),
                "changed": _changed(spec, rows[row], found[kind].rows[row]),
                "before": None if isinstance(check, MinimumFunctionality) else _answer(spec, before[row]),
                "after": _answer(spec, after[kind][row]),
                "excess": _number(worst[row]),
            }
        )
    asked = int(tried.sum())
    return Outcome(check, asked, asked - len(wrong), tuple(examples))


def _chosen(
    entry: RowsEntry, manifest: Manifest, background: FeatureBatch
) -> tuple[NDArray[np.intp], FeatureBatch]:
    """The rows of a check, and their numbers among the reference rows or the instances."""
    if entry.instances:
        return np.arange(len(entry.instances)), _written(entry.instances, manifest)
    eligible = np.arange(len(background))
    if entry.where is not None:
        try:
            eligible = np.flatnonzero(compile_expression(entry.where, manifest.spec.schema).mask(background))
        except ExpressionError as error:
            raise BundleError(f"on.where: {error}") from error
        if not len(eligible):
            raise BundleError(f"on.where: holds of none of {len(background)} reference rows")
    if len(eligible) > entry.sample:
        eligible = np.sort(np.random.default_rng(entry.seed).choice(eligible, entry.sample, replace=False))
    return eligible, np.ascontiguousarray(background[eligible])


def _written(instances: Sequence[Mapping[str, Any]], manifest: Manifest) -> FeatureBatch:
    schema = manifest.spec.schema
    if schema.layout == "image":
        raise BundleError("on.instances: not for an image; take reference rows")
    for number, instance in enumerate(instances):
        for name in instance:
            if name not in schema.names():
                raise BundleError(f"on.instances.{number}.{name}: the model has no such feature")
    columns = {name: [instance.get(name) for instance in instances] for name in schema.names()}
    try:
        return canonical_rows(schema, columns)
    except BundleError as error:
        raise BundleError(f"on.instances: {error}") from error


def _asked(model: Predicts, rows: FeatureBatch, found: Sequence[Variant]) -> tuple[Scores, list[Scores]]:
    """Scores of the rows as they are, and of every variant; all in as few runs as may be."""
    together = np.concatenate([rows, *(variant.rows for variant in found)])
    scores = answers(model, together).reshape(1 + len(found), len(rows), -1)
    return scores[0], list(scores[1:])


def _posted(spec: ModelSpec, row: FeatureBatch) -> dict[str, Any] | None:
    """The row as a caller would post it; an image is left to its number."""
    if not spec.schema.features:
        return None
    return {
        feature.name: as_posted(feature, float(value))
        for feature, value in zip(spec.schema.features, row, strict=True)
    }


def _changed(spec: ModelSpec, row: FeatureBatch, changed: FeatureBatch) -> dict[str, Any]:
    """What was changed, by name: from what, to what; of an image only that it was."""
    before, after = _posted(spec, row), _posted(spec, changed)
    if before is None or after is None:
        return {} if np.array_equal(row, changed) else {PIXELS: None}
    return {
        name: {"from": value, "to": after[name]} for name, value in before.items() if value != after[name]
    }


def _answer(spec: ModelSpec, scores: Scores) -> dict[str, Any]:
    if not spec.classes:
        return {"value": _number(scores[0])}
    label = spec.classes[label_indices(spec, scores[None])[0]]
    return {"label": label, "probabilities": dict(zip(spec.classes, map(_number, scores), strict=True))}


def _number(value: Any) -> float | None:
    """JSON has no infinity."""
    return float(value) if math.isfinite(value) else None


def describe(check: Mapping[str, Any]) -> str:
    """One check of ``behaviour.json`` in a sentence, with its worst row."""
    text = (
        f"{check['name']!r} holds for {check['rate']:.1%} of {check['rows']} rows, "
        f"at least {check['at_least']:.1%} asked"
    )
    return text + "".join(f"; worst {describe_example(example)}" for example in check["examples"][:1])


def describe_example(example: Mapping[str, Any]) -> str:
    """One failing row: its number, what was changed, both answers."""
    changes = ", ".join(
        name if change is None else f"{name} {_word(change['from'])} -> {_word(change['to'])}"
        for name, change in example["changed"].items()
    )
    after = _said(example["after"])
    if not changes:
        return f"row {example['row']}: {after}"
    return f"row {example['row']}: {changes}: {_said(example['before'])} -> {after}"


def _word(value: Any) -> str:
    return "missing" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _said(answer: Mapping[str, Any]) -> str:
    """The value, or the label with its probability."""
    if "value" in answer:
        return "no number" if answer["value"] is None else f"{answer['value']:.4g}"
    probability = answer["probabilities"][answer["label"]]
    return "no number" if probability is None else f"{answer['label']} {probability:.3f}"
