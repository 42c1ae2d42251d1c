"""``python -m load_tests.rules``: are Prometheus' rules right, and what do they cost?

Each section is a measurement made in this run; see ``SECTIONS``. Needs Prometheus: apt-get install prometheus
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from load_tests import program
from load_tests.program import Make
from load_tests.rule_costs import costs
from load_tests.rule_values import values

BESIDE = ("scipy",)

SECTIONS: Mapping[str, Make] = {"values": values, "costs": costs}


def main(arguments: Sequence[str] | None = None) -> int:
    return program.run("rules", __doc__ or "", SECTIONS, BESIDE, arguments)


if __name__ == "__main__":
    sys.exit(main())
