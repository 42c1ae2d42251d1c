"""``python -m load_tests.explanations``: what explanations cost, how exact they are, and whom they slow down.

Each section is a comparison made in this run; see ``SECTIONS``. Takes about 11 minutes, with ``--quick``
about 3.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from load_tests import program
from load_tests.explained_predictions import predictions
from load_tests.explainer_flood import flood
from load_tests.explanation_oracles import agreement
from load_tests.program import Make
from load_tests.sampling_explanations import sampling
from load_tests.tree_explanations import trees

BESIDE = ("shap", "scipy", "xgboost-cpu")

SECTIONS: Mapping[str, Make] = {
    "trees": trees,
    "sampling": sampling,
    "agreement": agreement,
    "predictions": predictions,
    "flood": flood,
}


def main(arguments: Sequence[str] | None = None) -> int:
    return program.run("explanations", __doc__ or "", SECTIONS, BESIDE, arguments)


if __name__ == "__main__":
    sys.exit(main())
