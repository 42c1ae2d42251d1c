"""A command made of sections: its options, the run, and the report."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from load_tests import bundles, report
from load_tests.machine import PACKAGES, choose_cores, describe, versions
from load_tests.sections import Circumstances, Section

Make: TypeAlias = Callable[[Circumstances], Section]


def run(
    name: str,
    about: str,
    sections: Mapping[str, Make],
    beside: Sequence[str],
    arguments: Sequence[str] | None = None,
    on_request: Sequence[str] = (),
) -> int:
    """Measures what is asked for and writes the report; 1 where a target is missed.

    Args:
        name: of the module in ``load_tests``, and of the report.
        about: what ``--help`` says.
        sections: what can be measured, by name.
        beside: packages whose versions matter here beside those of every run.
        arguments: of the command line.
        on_request: sections that run only where ``--only`` names them.
    """
    program = f"python -m load_tests.{name}"
    parser = argparse.ArgumentParser(prog=program, description=about)
    parser.add_argument("--quick", action="store_true", help="sooner, and less certain")
    parser.add_argument(
        "--only", choices=list(sections), action="append", help="one section; may be repeated"
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
            each: _made(each, make, circumstances)
            for each, make in sections.items()
            if (each in options.only if options.only else each not in on_request)
        }
    finally:
        os.sched_setaffinity(0, usable)
    flags = {"--quick": options.quick, "--contained": options.contained}
    only = [f"--only {each}" for each in options.only or ()]
    command = " ".join([program, *(flag for flag, on in flags.items() if on), *only])
    return _conclude(name, command, beside, made, options.results)


def _made(name: str, make: Make, circumstances: Circumstances) -> Section:
    start = time.monotonic()
    section = make(circumstances)
    missed = "a target was missed" if section.missed else "done"
    print(f"{name}: {missed} after {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return section


def _conclude(
    name: str, command: str, beside: Sequence[str], made: Mapping[str, Section], results: Path
) -> int:
    machine, packages = describe(), versions((*PACKAGES, *beside))
    document = {
        "command": command,
        "machine": {**machine.as_dict(), "packages": packages},
        "sections": {each: section.as_dict() for each, section in made.items()},
    }
    readable = "\n\n".join(section.readable() for section in made.values())
    header = f"# {name.capitalize()}\n\n`{command}` on {machine}."
    with_packages = ", ".join(f"{package} {number}" for package, number in packages.items())
    path = report.write(name, document, f"{header}\n\n{readable}\n\n{with_packages}", results)
    print(f"\n{readable}\n\nwritten: {path.name} and its .json twin in {path.parent.name}/")
    return int(any(section.missed for section in made.values()))
