"""``python -m load_tests.drift``: whether alerts on drift are right, how soon they come, and what they cost.

Each section is a measurement made in this run; see ``SECTIONS``. ``public`` downloads two packages for the
data in them, so it runs only where it is named: ``--only public``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from load_tests import program
from load_tests.drift_costs import costs
from load_tests.drift_delays import delays
from load_tests.drift_false_alarms import false_alarms
from load_tests.drift_public import public
from load_tests.drift_together import together
from load_tests.program import Make

BESIDE = ("scipy", "scikit-learn", "pyarrow")

SECTIONS: Mapping[str, Make] = {
    "false_alarms": false_alarms,
    "delays": delays,
    "together": together,
    "cost": costs,
    "public": public,
}
ON_REQUEST = ("public",)


def main(arguments: Sequence[str] | None = None) -> int:
    return program.run("drift", __doc__ or "", SECTIONS, BESIDE, arguments, on_request=ON_REQUEST)


if __name__ == "__main__":
    sys.exit(main())
