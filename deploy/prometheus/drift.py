"""The measures of drift, over all replicas, for every model, variable and number of bins alike.

Each rule of ``MEASURES`` says in PromQL what the file of the same name in ``service/domain/drift`` says in
Python; a test holds both to one another. A replica exports counts, never a measure, since measures of parts
do not add up: the counts of all replicas are summed, bin by bin, and measured once.

Labels are model, version, role and variable; of what is kept bin by bin, bin as well. job and instance are
summed away. A bundle that is a candidate here and production there keeps its two roles apart.

Guarantees, held by tests/deploy/test_recording_rules.py:

- a recorded value is the measure's of the counts recorded at that instant, to 1e-6;
- where no row has come, or nothing is known of the reference data, nothing is recorded: never NaN, never Inf;
- where replicas of different builds do not cut the bins alike, a bin of which one side knows nothing has no
  row there. The measure then tells that the bins differ, and so does an alert.
"""

from __future__ import annotations

from deploy.prometheus.promql import Group, Rule, filled, group
from deploy.prometheus.windows import DRIFT, INTERVALS
from service.domain.binning import MOST_ORDERED
from service.domain.drift.ks_p import NOUGHT
from service.domain.drift.measure import SMOOTHING
from service.domain.drift.two_sample import CHANCE

ORDERED = "[01][0-9] .*"
"""Bins of numbers, at most ``MOST_ORDERED``; the digits are in the order of the values."""
STRANGE = "unseen|[01][0-9] (below|above) .*"
"""Bins of what the reference data cannot have."""

KNOWN = "max by (model, version, variable, bin) (understudy_reference_rows)"
"""Replicas serve the same bundle, whose reference rows must not be counted once for each."""
REFERENCE = Rule("reference_rows", KNOWN)

COUNTS = (
    Rule(
        "distribution_rows:increase$w",
        "sum by (model, version, role, variable, bin) (increase(understudy_distribution_rows_total[$w]))",
    ),
    Rule("drift_rows:$w", "sum without (bin) (understudy:distribution_rows:increase$w) > 0"),
    # The reference rows have no role; every role that has live rows gets them all. A bin that only live rows
    # have is added with no row.
    Rule(
        "drift_reference_rows:$w",
        f"""
        (
            label_replace({KNOWN}, "role", "production", "", "")
          or
            label_replace({KNOWN}, "role", "candidate", "", "")
          or
            understudy:distribution_rows:increase$w * 0
        )
        and on (model, version, role, variable) understudy:drift_rows:$w
        and on (model, version, variable) sum without (bin) ({KNOWN}) > 0
        """,
    ),
    Rule(
        "drift_live_rows:$w",
        """
        understudy:distribution_rows:increase$w and understudy:drift_reference_rows:$w
        or understudy:drift_reference_rows:$w * 0
        """,
    ),
)
"""Rows by bin; both sides have the same bins."""

SHARES = (
    Rule(
        "drift_unit:$w",
        """
        1 / sum without (bin) (understudy:drift_live_rows:$w)
        + 1 / sum without (bin) (understudy:drift_reference_rows:$w)
        """,
    ),
    Rule(
        "drift_freedom:$w",
        "count without (bin) (understudy:drift_live_rows:$w + understudy:drift_reference_rows:$w > 0) - 1",
    ),
    Rule(
        "drift_balance:$w",
        """
        sqrt(
            sum without (bin) (understudy:drift_reference_rows:$w)
          / sum without (bin) (understudy:drift_live_rows:$w)
        )
        """,
    ),
    *(
        Rule(
            f"drift_{side}_share:$w",
            f"""
            (
                understudy:drift_{side}_rows:$w + $smoothing
              and
                understudy:drift_live_rows:$w + understudy:drift_reference_rows:$w > 0
            )
            / ignoring (bin) group_left ()
            (
                sum without (bin) (understudy:drift_{side}_rows:$w)
              +
                $smoothing * (understudy:drift_freedom:$w + 1)
            )
            """,
        )
        for side in ("live", "reference")
    ),
)
"""What chance does, and smoothed shares; of bins that are not empty on both sides."""


def _rows(side: str, bins: str) -> str:
    """The rows of a side in the bins of a pattern."""
    return f'sum without (bin) (understudy:drift_{side}_rows:$w{{bin=~"{bins}"}})'


def _shares(side: str) -> str:
    """Each ordered bin's share of the rows in all of them."""
    rows = f'understudy:drift_{side}_rows:$w{{bin=~"{ORDERED}"}}'
    return f"{rows} / ignoring (bin) group_left () ({_rows(side, ORDERED)} > 0)"


def _up_to(place: int) -> str:
    """A pattern of the two digits from 00 to ``place``."""
    return f"0[0-{place}]" if place < 10 else f"0.|1[0-{place - 10}]"


def _cumulative(place: int) -> str:
    steps = f'sum without (bin) (understudy:drift_step:$w{{bin=~"({_up_to(place)}) .*"}})'
    there = f'and ignoring (bin) understudy:drift_step:$w{{bin=~"{place:02} .*"}}'
    return f'label_replace(\n  {steps}\n  {there},\n  "bin", "{place:02}", "", ""\n)'


STEPS = (
    Rule("drift_step:$w", f"{_shares('live')}\n-\n{_shares('reference')}"),
    # One series for each place, so that two names of one bin, of replicas of different builds, are no error.
    Rule("drift_cumulative:$w", "\nor\n".join(_cumulative(place) for place in range(MOST_ORDERED))),
    Rule(
        "drift_ks_scaled:$w",
        f"""
        max without (bin) (abs(understudy:drift_cumulative:$w))
        / sqrt(
            1 / {_rows("live", ORDERED)}
          +
            1 / {_rows("reference", ORDERED)}
        )
        """,
    ),
)
"""Differences of the shares, and of the cumulative shares up to each bin's two digits."""


def _deviate(statistic: str) -> str:
    """How far out a chi-squared statistic is (Wilson & Hilferty 1931); 0 where there is but one bin."""
    return f"""
        (
          ({statistic} / understudy:drift_freedom:$w) ^ (1 / 3)
          - (1 - 2 / (9 * understudy:drift_freedom:$w))
        )
        / sqrt(2 / (9 * understudy:drift_freedom:$w))
        and understudy:drift_freedom:$w > 0
        or understudy:drift_freedom:$w * 0
        """


CHI_SQUARE = """sum without (bin) (
          (
              understudy:drift_live_rows:$w * ignoring (bin) group_left () understudy:drift_balance:$w
            -
              understudy:drift_reference_rows:$w / ignoring (bin) group_left () understudy:drift_balance:$w
          ) ^ 2
          / (understudy:drift_live_rows:$w + understudy:drift_reference_rows:$w > 0)
        )"""

MEASURES = (
    Rule(
        "drift_psi:$w",
        """
        sum without (bin) (
          (understudy:drift_live_share:$w - understudy:drift_reference_share:$w)
          * ln(understudy:drift_live_share:$w / understudy:drift_reference_share:$w)
        )
        """,
    ),
    Rule(
        "drift_psi_excess:$w",
        "understudy:drift_psi:$w - understudy:drift_freedom:$w * understudy:drift_unit:$w",
    ),
    Rule("drift_psi_z:$w", _deviate("understudy:drift_psi:$w / understudy:drift_unit:$w")),
    Rule(
        "drift_jensen_shannon:$w",
        """
        clamp_min(
          sum without (bin) (
              understudy:drift_live_share:$w * log2(
                2 * understudy:drift_live_share:$w
                / (understudy:drift_live_share:$w + understudy:drift_reference_share:$w)
              )
            +
              understudy:drift_reference_share:$w * log2(
                2 * understudy:drift_reference_share:$w
                / (understudy:drift_live_share:$w + understudy:drift_reference_share:$w)
              )
          ) / 2,
          0
        )
        """,
    ),
    Rule("drift_ks:$w", "max without (bin) (abs(understudy:drift_cumulative:$w))"),
    # Below NOUGHT the second row is 1 to the last digit; at nought itself it would be no number.
    Rule(
        "drift_ks_p:$w",
        """
        2 * (
          exp(-2 * understudy:drift_ks_scaled:$w ^ 2)
          - exp(-8 * understudy:drift_ks_scaled:$w ^ 2)
          + exp(-18 * understudy:drift_ks_scaled:$w ^ 2)
        )
        and understudy:drift_ks_scaled:$w >= 1
        or
        1 - (2 * pi()) ^ 0.5 / clamp_min(understudy:drift_ks_scaled:$w, $nought) * (
          exp(-pi() ^ 2 / (8 * clamp_min(understudy:drift_ks_scaled:$w, $nought) ^ 2))
          + exp(-9 * pi() ^ 2 / (8 * clamp_min(understudy:drift_ks_scaled:$w, $nought) ^ 2))
        )
        """,
    ),
    Rule("drift_wasserstein:$w", "sum without (bin) (abs(understudy:drift_cumulative:$w))"),
    Rule("drift_chi_square_z:$w", _deviate(CHI_SQUARE)),
    Rule(
        "drift_missing_share:$w",
        """
        sum without (bin) (understudy:drift_live_rows:$w{bin="missing"})
        / sum without (bin) (understudy:drift_live_rows:$w)
        """,
    ),
    Rule(
        "drift_unseen_share:$w",
        f"""
        (
            {_rows("live", STRANGE)}
          or
            sum without (bin) (understudy:drift_live_rows:$w) * 0
        )
        / sum without (bin) (understudy:drift_live_rows:$w)
        """,
    ),
)
"""One for each measure of ``service.domain.drift.measures``, of the same name."""

TWO_SAMPLE = (
    Rule(
        "drift_two_sample_rows:$w",
        "sum by (model, version) (increase(understudy_two_sample_rows_total[$w])) > 0",
    ),
    Rule(
        "drift_two_sample_accuracy:$w",
        """
        (
            sum by (model, version) (increase(understudy_two_sample_rows_total{correct="true"}[$w]))
          or
            understudy:drift_two_sample_rows:$w * 0
        )
        / understudy:drift_two_sample_rows:$w
        """,
    ),
    Rule(
        "drift_two_sample_z:$w",
        """
        (understudy:drift_two_sample_accuracy:$w - 0.5)
        / sqrt(0.25 / understudy:drift_two_sample_rows:$w + $chance ^ 2)
        """,
    ),
)
"""How well a classifier tells live rows from reference rows; guessing is right in half of them."""


def groups() -> list[Group]:
    """One for each window."""
    found = []
    for window in DRIFT:
        first = window == DRIFT[0]
        rules = [*COUNTS, *SHARES, *STEPS, *MEASURES, *(TWO_SAMPLE if first else ())]
        rules = filled(rules, w=window, smoothing=SMOOTHING, nought=NOUGHT, chance=CHANCE)
        found.append(group(f"drift-{window}", INTERVALS[window], [*([REFERENCE] if first else []), *rules]))
    return found
