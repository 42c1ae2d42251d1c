"""``python -m load_tests.explanations``: what explanations cost, how exact they are, and whom they slow down.

Each section is a comparison made in this run; see ``SECTIONS``. Takes about 11 minutes, with ``--quick``
about 3.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from load_tests import bundles, report
from load_tests.explained_predictions import predictions
from load_tests.explainer_flood import flood
from load_tests.explanation_oracles import agreement
from load_tests.machine import PACKAGES, choose_cores, describe, versions
from load_tests.sampling_explanations import sampling
from load_tests.sections import Circumstances, Section
from load_tests.tree_explanations import trees

BESIDE = ("shap", "scipy", "xgboost-cpu")
"""Packages whose versions matter here beside those of every run."""

SECTIONS: dict[str, Callable[[Circumstances], Section]] = {
    "trees": trees,
    "sampling": sampling,
    "agreement": agreement,
    "predictions": predictions,
    "flood": flood,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m load_tests.explanations", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about 3 minutes, and less certain")
    parser.add_argument(
        "--only", choices=list(SECTIONS), action="append", help="one section; may be repeated"
    )
    parser.add_argument("--home", type=Path, default=bundles.HOME, help="where the bundles are kept")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    parser.add_argument(
        "--contained", action="store_true", help="servers in a CPU cgroup, as in a container; needs root"
    )
    options = parser.parse_args(arguments)
    circumstances = Circumstances(options.quick, options.home.resolve(), choose_cores(), options.contained)
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {circumstances.cores[1]})
    try:
        made = {
            name: _made(name, make, circumstances)
            for name, make in SECTIONS.items()
            if name in (options.only or SECTIONS)
        }
    finally:
        os.sched_setaffinity(0, usable)
    return _conclude(options, made)


def _made(name: str, make: Callable[[Circumstances], Section], circumstances: Circumstances) -> Section:
    start = time.monotonic()
    section = make(circumstances)
    missed = "a target was missed" if section.missed else "done"
    print(f"{name}: {missed} after {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return section


def _conclude(options: argparse.Namespace, made: dict[str, Section]) -> int:
    machine, packages = describe(), versions((*PACKAGES, *BESIDE))
    flags = {"--quick": options.quick, "--contained": options.contained}
    only = [f"--only {name}" for name in options.only or ()]
    command = " ".join(
        ["python -m load_tests.explanations", *(flag for flag, on in flags.items() if on), *only]
    )
    document = {
        "command": command,
        "machine": {**machine.as_dict(), "packages": packages},
        "sections": {name: section.as_dict() for name, section in made.items()},
    }
    readable = "\n\n".join(section.readable() for section in made.values())
    header = f"# Explanations\n\n`{command}` on {machine}."
    with_packages = ", ".join(f"{name} {number}" for name, number in packages.items())
    path = report.write(
        "explanations", document, f"{header}\n\n{readable}\n\n{with_packages}", options.results
    )
    print(f"\n{readable}\n\nwritten: {path.name} and its .json twin in {path.parent.name}/")
    return int(any(section.missed for section in made.values()))


if __name__ == "__main__":
    sys.exit(main())
