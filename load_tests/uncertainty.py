"""``python -m load_tests.uncertainty``: whether what is said about uncertainty is true, and what it costs.

Each section is a comparison made in this run; see ``SECTIONS``. Takes about 12 minutes, with ``--quick``
about 4.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from load_tests import program
from load_tests.adaptive_coverage import adaptive
from load_tests.calibration_error import calibration
from load_tests.conformal_coverage import coverage
from load_tests.domain_scores import domain_scores
from load_tests.doubted_predictions import predictions
from load_tests.program import Make

BESIDE = ("scikit-learn", "mapie", "crepes")

SECTIONS: Mapping[str, Make] = {
    "coverage": coverage,
    "calibration": calibration,
    "domain": domain_scores,
    "adaptive": adaptive,
    "predictions": predictions,
}


def main(arguments: Sequence[str] | None = None) -> int:
    return program.run("uncertainty", __doc__ or "", SECTIONS, BESIDE, arguments)


if __name__ == "__main__":
    sys.exit(main())
