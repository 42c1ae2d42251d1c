"""``python -m service.replay``: what a candidate would have answered to recorded traffic, offline.

Kept rows (--kept) or an exported file (--file) go through production and any candidate of the model store,
and the report is that of /shadow/report: the same measures, slices and verdict. Before anything else it says
on which rows production does not answer today what it is recorded to have answered.

A line of a .jsonl file is a request {"instances": [...]} as it is posted to /predict, with "predictions" as
they were answered and "labels" where they are known; or it is one row by feature name, which may have "label"
and "probabilities", "score" or "value". A .csv or .parquet file has a column for each feature, and may have a
column with the truth (--labels) and production's answer in p:CLASS, score or value.

Exit codes: 0 the verdict is promote or hold; 2 a mistake in what was asked or given, told in one line; 3 the
verdict is rollback; 4 it is not, but recorded answers are not given again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from service.errors import UnderstudyError
from service.settings import read_environment, read_settings

FORMS = ("jsonl", "csv", "parquet")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one replay or one export; returns its exit code."""
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")  # no usage reports unless someone wants them
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.candidate is None and options.export is None:
        parser.error("--candidate is required: the bundle that is tried")
    if options.background:
        from service.wiring.priority import make_way

        make_way()  # before the heavy imports
    try:
        environment = read_environment()
        settings = read_settings(environment.config)
        from service.wiring import replay

        production = options.production or settings.production
        if options.export is not None:
            return replay.run_export(environment, production, options.export)
        wanted = replay.Wanted(
            production,
            options.candidate,
            options.file,
            options.name,
            options.format,
            options.labels,
            options.limit,
            options.batch,
            options.skip_invalid,
        )
        return replay.run(settings, environment, wanted, options.out)
    except (UnderstudyError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service.replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--file", type=Path, help="exported traffic: .jsonl, .csv or .parquet")
    what.add_argument("--kept", action="store_true", help="rows that the evidence store has kept")
    what.add_argument(
        "--export", type=Path, metavar="FILE.jsonl", help="write the kept rows in the form that --file reads"
    )
    parser.add_argument("--candidate", metavar="NAME:VERSION", help="the bundle that is tried")
    parser.add_argument("--production", metavar="NAME:VERSION", help="default: as configured")
    parser.add_argument("--name", help="what the report calls the file, if not by its name")
    parser.add_argument("--format", choices=FORMS, help="where the file's suffix does not say it")
    parser.add_argument(
        "--labels", default="label", metavar="COLUMN", help="holds the truth of a row; default: label"
    )
    parser.add_argument("--out", type=Path, help="write the report here, as JSON; - is standard output")
    parser.add_argument("--limit", type=_positive, help="replay no more rows than this")
    parser.add_argument("--batch", type=_positive, default=512, help="rows that are asked at a time")
    parser.add_argument(
        "--skip-invalid", action="store_true", help="count rows that do not fit instead of stopping there"
    )
    parser.add_argument(
        "--background",
        action="store_true",
        help="take only CPU that nobody else wants, and end when standard input ends",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {number}")
    return number


if __name__ == "__main__":
    sys.exit(main())
