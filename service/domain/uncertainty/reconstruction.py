"""``reconstruction``: how badly an autoencoder, trained on what the model was trained on, repeats a row.

The bundle's graph of that name takes what the model takes and answers one error per row, such as the mean
squared error (Japkowicz, Myers & Gluck 1995). It fits where a distance says little, as for pictures. The cost
is that of the graph.
"""

from __future__ import annotations

import numpy as np

from service.domain.schema import ModelSpec
from service.domain.uncertainty.measure import Arrays, Asked, Fitted, Kind, Material, Unfitting
from service.domain.uncertainty.percentile import Domain, Strangeness, domain_from, learn_domain

_WORST = float(np.finfo(np.float32).max)
"""Stands for an error that is no finite number: the graph's sums ran over."""


class Reconstruction:
    """See the module."""

    name = "reconstruction"
    kind: Kind = "domain"

    def fit(self, material: Material) -> Fitted:
        """Learns from the calibration rows which errors are usual.

        Raises:
            Unfitting: the bundle has no such graph, it answers a calibration row with no finite number, or
                there are too few of these rows.
        """
        if "reconstruction" not in material.graphs:
            raise Unfitting("the bundle has no reconstruction graph")
        return learn_domain(
            material, lambda rows: material.run("reconstruction", rows).astype(np.float64), {}, {}
        )

    def restore(self, spec: ModelSpec, arrays: Arrays) -> Domain:  # noqa: ARG002 - the graph knows the columns
        return domain_from(arrays, _errors)


RECONSTRUCTION = Reconstruction()


def _errors(asked: Asked) -> Strangeness:
    errors = asked.run("reconstruction", asked.rows).astype(np.float64)
    finite: Strangeness = np.fmin(errors, _WORST)  # of a number and NaN, fmin takes the number
    return finite
