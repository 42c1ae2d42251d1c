"""Bundles as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from models.behaviour import describe, describe_example
from models.bundle import Bundle
from models.canonical import output_names
from models.manifest import FeatureEntry, Manifest, Training
from models.packaging import untried
from service.domain.parity import ParityReport


def bundle_text(bundle: Bundle, report: ParityReport, providers: Sequence[str]) -> str:
    """All that ``inspect`` shows of one bundle."""
    return "\n".join(
        (
            *_summary(bundle.manifest),
            *_inputs(bundle.manifest),
            *_training(bundle.manifest.training),
            *_parity(bundle, report, providers),
            *_explanations(bundle),
            *_uncertainty(bundle),
            *_behaviour(bundle),
            *_parts(bundle),
        )
    )


def bundle_table(bundles: Iterable[Bundle]) -> str:
    """One line per bundle."""
    lines = [("BUNDLE", "TASK", "LAYOUT", "INPUTS", "FRAMEWORK", "MEASURED (BASELINE)")]
    for bundle in bundles:
        manifest = bundle.manifest
        lines.append(
            (
                bundle.spec.tag,
                manifest.task,
                manifest.input.layout,
                str(bundle.spec.schema.width),
                manifest.training.framework,
                ", ".join(measures(manifest.training)),
            )
        )
    return "\n".join(_aligned(lines))


def behaviour_text(tag: str, document: Mapping[str, Any]) -> str:
    """All that ``check`` shows: a line for each check, and the worst rows of those that fail."""
    checks = document["checks"]
    lines = [("", "CHECK", "KIND", "ROWS", "HOLDS", "ASKED")]
    lines += [
        (
            _state(check),
            check["name"],
            check["kind"],
            str(check["rows"]),
            f"{check['rate']:.1%}",
            f"{check['at_least']:.1%}",
        )
        for check in checks
    ]
    shown = _aligned(lines)
    for check in reversed(range(len(checks))):
        if not checks[check]["passed"]:
            worst = [f"         {describe_example(example)}" for example in checks[check]["examples"]]
            shown[check + 2 : check + 2] = worst
    return "\n".join([*shown, f"{tag} {_passed(document)}"])


def evaluation_text(document: Mapping[str, Any]) -> str:
    """All that ``evaluate`` shows: a line for each slice and measure."""
    lines = [("SLICE", "ROWS", "MEASURE", "PRODUCTION", "CANDIDATE", "DIFFERENCE", "SURELY BETTER")]
    for name, part in document["slices"].items():
        for measure, found in part["measures"].items():
            cells = [_interval(found[model], "") for model in ("production", "candidate")]
            cells += [_interval(found["difference"], "+"), found["favours"] or ""]
            lines.append((name, str(part["rows"]), measure, *cells))
    tests = len(lines) - 1
    head = f"production {document['production']}, candidate {document['candidate']}: {document['rows']} rows"
    foot = (
        f"Intervals at {document['confidence']:g}, each for itself: were none of the {tests} differences "
        f"real, about {tests * (1 - document['confidence']):.1f} would look sure by chance."
    )
    return "\n".join((head, *_aligned(lines), foot))


def _interval(found: Mapping[str, float | None], sign: str) -> str:
    if found["low"] is None:
        return f"{found['value']:{sign}.4f} [too few rows]"
    return f"{found['value']:{sign}.4f} [{found['low']:{sign}.4f}, {found['high']:{sign}.4f}]"


def measures(training: Training) -> Iterator[str]:
    """Each measure, with the baseline's beside it."""
    for name, value in training.metrics.items():
        beside = training.baseline.get(name)
        yield f"{name} {value:g}" + (f" ({beside:g})" if beside is not None else "")


def _summary(manifest: Manifest) -> Iterator[str]:
    spec = manifest.spec
    yield f"{spec.tag}  {manifest.task}"
    yield f"  answers    {', '.join(output_names(spec))} from graph output {manifest.output.name!r}"
    if manifest.task == "binary":
        yield f"  threshold  {spec.classes[1]!r} at or above {manifest.threshold:g}"
    if manifest.slices:
        yield f"  slices     {', '.join(part.name for part in manifest.slices)}"


def _inputs(manifest: Manifest) -> Iterator[str]:
    entry = manifest.input
    if entry.layout == "image":
        yield f"  takes      image {list(entry.shape)} at graph input {entry.name!r}"
        return
    how = "one graph input per column" if entry.name is None else f"graph input {entry.name!r}"
    yield f"  takes      {len(manifest.features)} features, {how}"
    width = max(len(feature.name) for feature in manifest.features)
    for feature in manifest.features:
        missing = "may be missing" if feature.missing == "allow" else ""
        yield f"    {feature.name:<{width}}  {feature.type:<6}  {_values(feature):<52} {missing}".rstrip()


def _values(feature: FeatureEntry) -> str:
    if feature.categories:
        return ", ".join(feature.categories)
    return f"{feature.range[0]:g} to {feature.range[1]:g}" if feature.range is not None else ""


def _training(training: Training) -> Iterator[str]:
    rows = f"{training.rows} rows of " if training.rows is not None else ""
    made = f" at {training.at:%Y-%m-%d %H:%M}" if training.at is not None else ""
    yield f"  trained    by {training.author}{made} with {training.framework} on {rows}{training.data}"
    if training.notes:
        yield f"             {training.notes}"
    if training.metrics:
        yield f"  measured   {', '.join(measures(training))}; in brackets the baseline"


def _parity(bundle: Bundle, report: ParityReport, providers: Sequence[str]) -> Iterator[str]:
    outcome = "passed" if report.passed else "FAILED"
    yield f"  parity     {outcome} on {', '.join(providers)}: {report.describe()}"
    gaps = untried(bundle.spec, bundle.golden()[0])
    if gaps:
        yield f"             no golden row shows {', '.join(gaps)}"


def _explanations(bundle: Bundle) -> Iterator[str]:
    certificate = bundle.certificate()
    if certificate is None:
        return
    methods = certificate["methods"]
    passed = [name for name, record in methods.items() if record["offered"]]
    yield f"  explained  by {', '.join(passed) or 'no method'}"
    for name, record in methods.items():
        if not record["offered"]:
            yield f"             not by {name}: {record['reason']}"


def _uncertainty(bundle: Bundle) -> Iterator[str]:
    report = bundle.uncertainty()
    if report is None:
        return
    entry = bundle.manifest.uncertainty
    told = {
        kind: chosen if (named := getattr(entry, kind, "auto")) == "auto" else named
        for kind, chosen in report["chosen"].items()
    }
    for kind, name in told.items():
        known = [each for each, found in report["measures"].items() if found["kind"] == kind]
        beside = [each for each in known if each != name]
        gone = "" if name in known else ", which this bundle does not have"
        also = f" (or {', '.join(beside)})" if beside else ""
        yield f"  {kind:<10} {name}{gone}{also}" if name is not None else f"  {kind:<10} no measure fits"
    largest = report["measures"].get(told["region"], {}).get("most_confidence")
    if largest is not None and largest < entry.confidence:
        yield f"             {report['calibration_rows']} calibration rows support at most {largest:.3f}"


def _behaviour(bundle: Bundle) -> Iterator[str]:
    document = bundle.behaviour()
    if document is not None:
        yield f"  behaviour  {_passed(document)}"
        yield from (f"             {describe(check)}" for check in document["checks"] if not check["passed"])


def _passed(document: Mapping[str, Any]) -> str:
    """How a suite went as a whole."""
    checks = document["checks"]
    failed = sum(not check["passed"] for check in checks)
    if not failed:
        return f"passes {len(checks)} behavioural checks"
    verdict = "passes with warnings" if document["passed"] else "FAILS"
    return f"{verdict}: {failed} of {len(checks)} behavioural checks do not hold"


def _state(check: Mapping[str, Any]) -> str:
    return "ok" if check["passed"] else "FAILED" if check["severity"] == "error" else "warning"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Cells under each other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _parts(bundle: Bundle) -> Iterator[str]:
    background, calibration = len(bundle.background()), len(bundle.calibration()[2])
    yield f"  data       {background} background rows, {calibration} calibration rows"
    yield f"  lies in    {bundle.path}"
    for name in bundle.manifest.digests:
        size = (bundle.path / name).stat().st_size
        yield f"    {name:<16} {size:>10,} bytes  {bundle.manifest.digests[name]}"
    yield f"  digest     {bundle.digest}"
