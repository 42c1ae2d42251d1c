"""What each measure of drift ought to be, computed by other means from single rows: one oracle each."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon

from service.domain.drift.measure import Sample


def pairs(sample: Sample) -> list[tuple[float, float]]:
    """Reference and live rows of every bin that has any."""
    both = zip(sample.reference.tolist(), sample.live.tolist(), strict=True)
    return [(before, now) for before, now in both if before + now > 0]


def shares(sample: Sample) -> tuple[list[float], list[float]]:
    seen = pairs(sample)
    sides = [[each[side] + 0.5 for each in seen] for side in (0, 1)]
    reference, live = ([rows / sum(side) for rows in side] for side in sides)
    return reference, live


def psi(sample: Sample) -> float:
    """Both relative entropies, which is what PSI is."""
    p, q = shares(sample)
    return float(stats.entropy(p, q) + stats.entropy(q, p))


def chance(sample: Sample) -> float:
    return 1 / float(sample.live.sum()) + 1 / float(sample.reference.sum())


def deviate(statistic: float, freedom: int) -> float:
    """By the chi-squared distribution itself."""
    if not freedom:
        return 0.0
    return float(stats.norm.ppf(stats.chi2.cdf(statistic, freedom)))


def psi_excess(sample: Sample) -> float:
    return psi(sample) - (len(pairs(sample)) - 1) * chance(sample)


def psi_z(sample: Sample) -> float:
    return deviate(psi(sample) / chance(sample), len(pairs(sample)) - 1)


def jensen_shannon(sample: Sample) -> float:
    p, q = shares(sample)
    return float(jensenshannon(p, q, base=2) ** 2)


def in_order(sample: Sample) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows of the ordered bins, or None where a side has none."""
    reference, live = (side[: sample.ordered] for side in (sample.reference, sample.live))
    return (reference, live) if reference.any() and live.any() else None


def ks(sample: Sample) -> float | None:
    """Of the bins' numbers, one by one; of whole rows only."""
    both = in_order(sample)
    if both is None:
        return None
    scale = 8  # of fractions in the samples here
    rows = [np.repeat(np.arange(len(each)), np.rint(each * scale).astype(int)) for each in both]
    return float(stats.ks_2samp(*rows).statistic)


def ks_p(sample: Sample) -> float | None:
    both, distance = in_order(sample), ks(sample)
    if both is None or distance is None:
        return None
    m, n = (float(each.sum()) for each in both)
    return float(stats.kstwobign.sf(distance * math.sqrt(n * m / (n + m))))


def wasserstein(sample: Sample) -> float | None:
    both = in_order(sample)
    if both is None:
        return None
    places = np.arange(sample.ordered)
    return float(stats.wasserstein_distance(places, places, *both))


def chi_square_z(sample: Sample) -> float:
    seen = pairs(sample)
    if len(seen) < 2:
        return 0.0
    found = stats.chi2_contingency(np.array(seen).T, correction=False)
    return deviate(float(found.statistic), len(seen) - 1)


def missing_share(sample: Sample) -> float:
    return share_of(sample, {sample.missing})


def unseen_share(sample: Sample) -> float:
    return share_of(sample, set(sample.strange))


def share_of(sample: Sample, bins: set[int]) -> float:
    rows = dict(enumerate(sample.live.tolist()))
    return sum(count for place, count in rows.items() if place in bins) / sum(rows.values())


ORACLES: dict[str, Callable[[Sample], float | None]] = {
    "psi": psi,
    "psi_excess": psi_excess,
    "psi_z": psi_z,
    "jensen_shannon": jensen_shannon,
    "ks": ks,
    "ks_p": ks_p,
    "wasserstein": wasserstein,
    "chi_square_z": chi_square_z,
    "missing_share": missing_share,
    "unseen_share": unseen_share,
}
