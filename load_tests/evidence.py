"""``python -m load_tests.evidence``: whether the verdict on a shadow is right, and what evidence costs.

Each section is a comparison made in this run; see ``SECTIONS``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from load_tests import program
from load_tests.false_alarms import false_alarms
from load_tests.feedback_join import join
from load_tests.program import Make
from load_tests.shadow_throughput import throughput
from load_tests.verdict_power import power

BESIDE = ("scipy",)

SECTIONS: Mapping[str, Make] = {
    "false_alarms": false_alarms,
    "power": power,
    "throughput": throughput,
    "join": join,
}


def main(arguments: Sequence[str] | None = None) -> int:
    return program.run("evidence", __doc__ or "", SECTIONS, BESIDE, arguments)


if __name__ == "__main__":
    sys.exit(main())
