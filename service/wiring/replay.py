"""Runs a replay: traffic from a file or out of the store, through both models, to a report."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from service.adapters import bundles
from service.adapters.bundles import Loaded
from service.adapters.onnx import Watchdog
from service.adapters.progress import Steps, steps
from service.adapters.traffic_files import Form, Record, TrafficFile
from service.domain.evidence.document import Seen, Study, assess
from service.domain.projection import projection
from service.errors import TrafficError
from service.http.instances import InstanceReader
from service.http.problem import Problem
from service.http.traffic import LABEL, TrafficReader
from service.paths.replay import Models, Replay
from service.paths.replay_words import inconsistent, summary
from service.paths.traffic import Traffic
from service.paths.witness import Witness
from service.settings import Environment, Settings
from service.wiring.coverage import watched_models
from service.wiring.evidence import Contender, EvidenceBuilder
from service.wiring.kept import KeptRows, export
from service.wiring.studying import pairing_of, rules_of, study_of

MOST_SKIPPED = 20
"""Records that are named of those that did not fit."""
ALONE_ROWS = 64
"""Rows of a batch that production answers again one by one."""
ROLLBACK, INCONSISTENT = 3, 4
"""Exit codes."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One replay."""

    production: str
    """``NAME:VERSION``"""
    candidate: str
    file: Path | None
    """None for the rows that the store has kept."""
    name: str | None
    """What the report calls the file; None for its own name."""
    form: Form | None
    """None goes by the file's suffix."""
    label: str
    """Field that holds the truth of a row."""
    limit: int | None
    batch: int
    """Rows that are asked at a time."""
    skip_invalid: bool


def run(settings: Settings, environment: Environment, wanted: Wanted, out: Path | None) -> int:
    """Replays, writes the report and tells what it says; returns the exit code.

    Raises:
        UnderstudyError: a bundle is absent or does not fit, or the traffic cannot be read.
    """
    if out is not None and not out.parent.is_dir():  # told now, not when all the work is done
        raise TrafficError(f"{out}: cannot be written: there is no such folder")
    with steps() as shown:
        document = replay(settings, environment, wanted, shown)
    if out == Path("-"):
        sys.stdout.buffer.write(orjson.dumps(document))
    else:
        told = [*inconsistent(document), *summary(document)]
        if out is not None:
            out.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
            told.append(f"the report is in {out}")
        sys.stdout.write("\n".join([*told, ""]))
    if document["verdict"]["state"] == "rollback":
        return ROLLBACK
    return INCONSISTENT if document["inconsistent"]["rows"] else 0


def run_export(environment: Environment, production: str, path: Path) -> int:
    """Exports the kept rows and tells how many; returns the exit code."""
    rows, redacted = export(environment, production, path)
    left_out = f"; {redacted} are left out because columns of theirs are redacted" if redacted else ""
    sys.stdout.write(f"{rows} rows are in {path}{left_out}\n")
    return 0


def replay(settings: Settings, environment: Environment, wanted: Wanted, shown: Steps) -> dict[str, Any]:
    """The report, ready for JSON; what production does not answer again comes first.

    Raises:
        UnderstudyError: as ``run``.
    """
    started, began = time.monotonic(), time.time()
    source = _Kept(environment, wanted) if wanted.file is None else _File(wanted.file, wanted)
    production, candidate = (
        bundles.load(tag, providers=environment.providers, threads=settings.server.threads)
        for tag in (wanted.production, wanted.candidate)
    )
    study = study_of(production.bundle, candidate.bundle, rules_of(settings.verdict))
    work = _replay(settings, environment, wanted, production, candidate, study)
    reader = _reader(settings, production, wanted.label)
    for _ in work.run(source.traffic(reader), wanted.limit):
        shown.at(work.rows, source.done, source.total)
    if not work.rows:
        raise TrafficError(f"{source.name}: there are no rows to replay")
    seen = Seen(
        work.books(),
        cases=work.cases,
        since=began,
        now=time.time(),
        behaviour=bundles.behaviour_of(candidate.bundle),
    )
    return {
        "inconsistent": work.inconsistent.document(),
        "replay": {
            "production": wanted.production,
            "candidate": wanted.candidate,
            "source": source.name,
            "rows": work.rows,
            "compared": work.outcomes["compared"],
            "failed": work.outcomes["candidate_error"],
            "unanswered": work.unanswered,
            "labelled": work.labelled,
            "picked": work.picked,
            "redacted": source.redacted,
            "skipped": {"records": source.skipped, "examples": source.examples},
            "fields_left_out": sorted(reader.left_out),
            "seconds": time.monotonic() - started,
        },
        **_held_where_picked(assess(study, seen), work),
    }


def _replay(
    settings: Settings,
    environment: Environment,
    wanted: Wanted,
    production: Loaded,
    candidate: Loaded,
    study: Study,
) -> Replay:
    always = settings.evidence.model_copy(update={"noise_rate": 1.0})  # nobody waits for the candidate
    builder = EvidenceBuilder(
        settings.model_copy(update={"evidence": always}),
        environment,
        production,
        watched_models(settings, environment, production, (candidate,)),
        Watchdog(),
    )
    spec, parity = production.bundle.spec, production.bundle.manifest.parity
    project = projection(spec, candidate.bundle.spec)
    pairing = pairing_of(production.bundle, candidate.bundle, study)
    return Replay(
        Models(
            spec,
            candidate.bundle.spec,
            production.model.predict,
            candidate.model.predict,
            project,
            parity.absolute,
            parity.relative,
        ),
        bundles.slices_of(production.bundle),
        study.agreement,
        study.judgement,
        _thorough(builder.witness(Contender(0, candidate, project, study, pairing), _nobody_is_told)),
        cases=(settings.evidence.worst, settings.evidence.sample),
        batch=wanted.batch,
    )


def _thorough(witness: Witness) -> Witness:
    """The witness, which has production repeat more rows than live: a margin grows with what noise may hide.

    There are only the rows of one file, and nobody waits.
    """
    if witness.repeats is not None:
        witness.repeats.variants = tuple(
            replace(variant, rows=ALONE_ROWS if variant.alone else sys.maxsize)
            for variant in witness.repeats.variants
        )
    return witness


def _reader(settings: Settings, production: Loaded, label: str) -> TrafficReader:
    spec, expected = production.bundle.spec, production.bundle.manifest.expected
    if label != LABEL and label in spec.schema.names():
        raise TrafficError(f"--labels {label}: is a feature of {spec.tag}, so it cannot hold the truth")
    instances = InstanceReader(spec.schema, settings.limits.max_rows, _uncounted, expected)
    return TrafficReader(spec, instances, label)


@dataclass(slots=True)
class _Source:
    """Where the traffic comes from, and what came of reading it."""

    name: str
    skip_invalid: bool
    done: int = 0
    """Of ``total``, in the source's own unit."""
    total: int = 0
    """0 where nobody knows."""
    redacted: int = 0
    skipped: int = 0
    """Records that did not fit."""
    examples: list[dict[str, Any]] = field(default_factory=list)

    def _read(self, reader: TrafficReader, place: str, record: Record) -> Iterator[Traffic]:
        """The record's rows; none where it does not fit and such are skipped.

        Raises:
            TrafficError: it does not fit; names the place, the instance and the feature.
        """
        try:
            if record.fault is not None:
                raise Problem(422, record.fault)
            yield reader.read(place, record.fields, text=record.text)
        except Problem as problem:
            if not self.skip_invalid:
                raise TrafficError(
                    f"{self.name}, {place}: {problem.detail}; --skip-invalid goes on without it"
                ) from problem
            self.skipped += 1
            if len(self.examples) < MOST_SKIPPED:
                self.examples.append({"place": place, "detail": problem.detail, "errors": problem.errors[:5]})


class _File(_Source):
    def __init__(self, path: Path, wanted: Wanted) -> None:
        super().__init__(wanted.name or path.name, wanted.skip_invalid)
        self._file = TrafficFile(path, wanted.form)
        self._label = wanted.label

    def traffic(self, reader: TrafficReader) -> Iterator[Traffic]:
        unit = "row" if self._file.form == "parquet" else "line"
        table = self._file.form != "jsonl"  # where every record has every column
        for record in self._file.records():
            self.done, self.total = self._file.done, self._file.total
            if self._label not in (LABEL, *record.fields) and table and record.fault is None:
                raise TrafficError(f"{self.name}: there is no column {self._label!r}, which --labels names")
            yield from self._read(reader, f"{unit} {record.number}", record)


class _Kept(_Source):
    def __init__(self, environment: Environment, wanted: Wanted) -> None:
        super().__init__("kept", wanted.skip_invalid)
        self._rows = KeptRows(environment, wanted.production)

    def traffic(self, reader: TrafficReader) -> Iterator[Traffic]:
        for number, fields in enumerate(self._rows.requests(), 1):
            self.done = number
            yield from self._read(reader, f"case {number}", Record(number, fields))
        self.redacted = self._rows.redacted


def _held_where_picked(found: dict[str, Any], work: Replay) -> dict[str, Any]:
    """The verdict is hold where rows were kept for what they are: they say nothing about the others."""
    if not work.picked:
        return found
    detail = f"{work.picked} of {work.rows} rows were kept as the worst ones or of one slice: no fair sample"
    verdict: Mapping[str, Any] = found["verdict"]
    reasons = [{"code": "not_representative", "detail": detail}, *verdict["reasons"]]
    held = {**verdict, "state": "hold", "because": None, "reasons": reasons, "more_rows": None}
    return {**found, "verdict": held}


def _uncounted(feature: str, kind: str, count: int = 1) -> None:
    """Violations of a replay are no callers'."""


def _nobody_is_told(running: bool) -> None:
    """A crash is this process's own."""
