"""*Drift*: which inputs and answers are not those of the reference data any more, since when, and how."""

from __future__ import annotations

from deploy.grafana.board import Board, label_values, one_of, several
from deploy.grafana.panel import (
    PLAIN,
    Bounds,
    Kind,
    Panel,
    Query,
    Row,
    Unit,
    apart,
    less_is_worse,
    more_is_worse,
)
from deploy.prometheus.budgets import MORE
from deploy.prometheus.windows import DRIFT
from service.domain.drift.alerting import ACCURACY, EXCESS, LEAST_ROWS, PAGE_EXCESS, SLOW_EXCESS, SURE
from service.domain.drift.measures import MEASURES

MODEL = 'model="$model",version="$version"'
THESE = f'{MODEL},role="$role",variable=~"$variable"'
HAVING = 'understudy_distribution_rows_total{role="$role"'
ALERTS = ("DriftPage", "DriftTicket", "DriftSlow")
UNITS: dict[str, Unit] = {"share": "percentunit", "standard deviations": "suffix:sd", "bins": "suffix:bins"}
"""Grafana's name of a measure's unit; the others are numbers without one."""
SHOWN: dict[str, Bounds] = {
    "psi_excess": more_is_worse(EXCESS, PAGE_EXCESS),
    "psi_z": more_is_worse(SURE),
    "chi_square_z": more_is_worse(SURE),
}
"""Bounds of measures that have any."""


def measured(name: str, chosen: str = THESE) -> str:
    """A recorded measure in the window that was chosen."""
    return f"understudy:drift_{name}:${{window}}{{{chosen}}}"


def by_variable(expr: str) -> str:
    """One series for each variable, with no label beside."""
    return f"sum by (variable) ({expr})"


def share(side: str, bins: str) -> str:
    """The share of the live or the reference rows in bins of a pattern, by variable."""
    return (
        by_variable(measured(f"{side}_rows", f'{THESE},bin=~"{bins}"'))
        + f" / {by_variable(measured(f'{side}_rows'))}"
    )


def by_bin(side: str) -> str:
    """Each bin's share of the live or the reference rows of one variable."""
    rows = measured(f"{side}_rows")
    return f"sum by (bin) ({rows}) / on () group_left () sum({rows})"


MOVED = f"""
count(
  {measured("psi_excess")} > {EXCESS:g}
  and {measured("psi_z")} > {SURE:g}
  and {measured("rows")} >= {LEAST_ROWS}
) or on () vector(0)
""".strip()
COUNTED = """
sum(increase(understudy_distribution_outcomes_total{outcome="counted"}[1h]))
/ (sum(increase(understudy_distribution_outcomes_total[1h])) > 0)
""".strip()

NOW_ROW = Row(
    "Now",
    (
        Panel(
            Kind.NUMBER,
            "Variables that moved",
            f"""In the chosen window: PSI above chance is more than {EXCESS:g}, its z more than {SURE:g}, and
            at least {LEAST_ROWS} rows came.""",
            "short",
            (Query(MOVED, "moved"),),
            ALERTS,
            more_is_worse(1),
            width=5,
            height=5,
        ),
        Panel(
            Kind.NUMBER,
            "Largest change",
            f"PSI above chance of the variable that moved most. A ticket from {EXCESS:g} on, of a whole day "
            f"from {SLOW_EXCESS:g} on, a page from {PAGE_EXCESS:g}, where it is sure.",
            "none",
            (Query(f"topk(1, {measured('psi_excess')})", "{{variable}}"),),
            ALERTS,
            more_is_worse(EXCESS, PAGE_EXCESS),
            empty="no rows",
            width=5,
            height=5,
        ),
        Panel(
            Kind.NUMBER,
            "Rows in the window",
            f"Rows counted of the model, over all replicas. Fewer than {LEAST_ROWS} say nothing about drift.",
            "short",
            (Query(f"max({measured('rows')})", "rows"),),
            ("DriftBlind",),
            less_is_worse(LEAST_ROWS),
            empty="no rows",
            width=5,
            height=5,
        ),
        Panel(
            Kind.NUMBER,
            "Counted, last hour",
            "Share of the rows to be counted by bin that were; of all models that are watched.",
            "percentunit",
            (Query(COUNTED, "counted"),),
            ("DriftBlind",),
            less_is_worse(0.5),
            empty="no traffic",
            width=4,
            height=5,
        ),
        Panel(
            Kind.NUMBER,
            "Told from the reference data",
            f"""How often a classifier is right that tells live rows of production from reference rows, over
            an hour; 50 % is guessing. An alert from {ACCURACY:.0%} on, where it is sure.""",
            "percentunit",
            (Query(f"understudy:drift_two_sample_accuracy:1h{{{MODEL}}}", "accuracy"),),
            ("TwoSampleDiffers",),
            more_is_worse(ACCURACY),
            empty="production only",
            width=5,
            height=5,
        ),
    ),
)

TIME_ROW = Row(
    "Variables over time",
    (
        Panel(
            Kind.HEAT,
            "Change of each variable",
            f"""PSI above chance, of the window chosen, at each moment. 0 and below is what chance does;
            {PAGE_EXCESS:g} is worth getting up for.""",
            "none",
            (Query(by_variable(measured("psi_excess")), "{{variable}}"),),
            ALERTS,
            least=0,
            most=2 * PAGE_EXCESS,
            width=24,
            height=12,
        ),
        Panel(
            Kind.LINES,
            "PSI above chance",
            "The ten variables that moved most. Dashed: where a ticket and where a page is written.",
            "none",
            (Query(f"topk(10, {by_variable(measured('psi_excess'))})", "{{variable}}"),),
            ALERTS,
            more_is_worse(EXCESS, PAGE_EXCESS),
        ),
        Panel(
            Kind.LINES,
            "How sure that is",
            f"z of PSI; the ten largest. Above {SURE:g} (dashed) chance does not explain it.",
            "suffix:sd",
            (Query(f"topk(10, {by_variable(measured('psi_z'))})", "{{variable}}"),),
            ALERTS,
            more_is_worse(SURE),
        ),
    ),
)

TABLE_ROW = Row(
    "Every measure",
    (
        Panel(
            Kind.TABLE,
            "Every measure, in the chosen window",
            "As GET /drift has them. Empty: the measure has nothing to say of words or labels.",
            "none",
            (
                Query(by_variable(measured("rows")), "rows", "short"),
                *(
                    Query(
                        by_variable(measured(measure.name)),
                        measure.name.replace("_", " "),
                        UNITS.get(measure.unit, "none"),
                        SHOWN.get(measure.name),
                    )
                    for measure in MEASURES
                ),
            ),
            ALERTS,
            by="variable",
            sort="psi excess",
            empty="-",
            width=24,
            height=11,
        ),
    ),
)

STRANGE_ROW = Row(
    "Missing and unseen values",
    (
        Panel(
            Kind.LINES,
            "Missing, more than in the reference data",
            "Share of the live rows without a value, less that of the reference rows.",
            "percentunit",
            (
                Query(
                    f"{by_variable(measured('missing_share'))} - {share('reference', 'missing')}",
                    "{{variable}}",
                ),
            ),
            ("UnseenValues",),
            apart(MORE),
        ),
        Panel(
            Kind.LINES,
            "Missing",
            "Share of the live rows without a value.",
            "percentunit",
            (Query(by_variable(measured("missing_share")), "{{variable}}"),),
            ("UnseenValues",),
            least=0,
        ),
        Panel(
            Kind.LINES,
            "Out of range, or a word never seen",
            "Share of the live rows with a value that the reference data cannot have had.",
            "percentunit",
            (Query(by_variable(measured("unseen_share")), "{{variable}}"),),
            ("UnseenValues",),
            more_is_worse(MORE),
            least=0,
        ),
        Panel(
            Kind.LINES,
            "Rows by variable",
            "Live rows in the chosen window. The domain is looked at on a sample, the score where answered.",
            "short",
            (Query(by_variable(measured("rows")), "{{variable}}"),),
            ("DriftBlind",),
            more_is_worse(LEAST_ROWS),
            least=0,
        ),
    ),
)

TWO_SAMPLE_ROW = Row(
    "All variables together",
    (
        Panel(
            Kind.LINES,
            "Classifier two-sample test: accuracy",
            """How often a classifier is right that tells live rows from reference rows, over an hour. It sees
            what no single variable shows: that values do not go together as they did.""",
            "percentunit",
            (Query(f"understudy:drift_two_sample_accuracy:1h{{{MODEL}}}", "accuracy"),),
            ("TwoSampleDiffers",),
            more_is_worse(ACCURACY),
            width=8,
        ),
        Panel(
            Kind.LINES,
            "Classifier two-sample test: how sure",
            "Standard deviations above one half, by the chance of guessing and of the reference rows; "
            f"{SURE:g} (dashed) is sure.",
            "suffix:sd",
            (Query(f"understudy:drift_two_sample_z:1h{{{MODEL}}}", "z"),),
            ("TwoSampleDiffers",),
            more_is_worse(SURE),
            width=8,
        ),
        Panel(
            Kind.STACK,
            "What became of the rows to be counted, by hour",
            "Of all models. What is not counted was left out on purpose or for want of room.",
            "short",
            (
                Query(
                    "sum by (outcome) (increase(understudy_distribution_outcomes_total[1h]))",
                    "{{outcome}}",
                ),
            ),
            ("DriftBlind",),
            least=0,
            width=8,
        ),
    ),
)

BARS_ROW = Row(
    "Distributions, now beside the reference data",
    (
        Panel(
            Kind.BARS,
            "$variable",
            """Share of the rows in each bin: of the live rows in the chosen window, and of the reference
            data. Bins of numbers are in their order; missing and unseen values follow.""",
            "percentunit",
            (Query(by_bin("live"), "now"), Query(by_bin("reference"), "reference")),
            (*ALERTS, "BinsDiffer"),
            PLAIN,
            least=0,
            by="bin",
            repeat="variable",
            width=8,
        ),
    ),
)

BOARD = Board(
    "drift",
    "Understudy: drift",
    "Which inputs and answers are not those of the reference data any more, since when, and how.",
    (
        one_of("role", ("production", "candidate"), "Which the model was while the rows came."),
        label_values("model", "model", f"{HAVING}}}", "The bundle's name."),
        label_values("version", "version", f'{HAVING},model="$model"}}', "The bundle's version."),
        one_of("window", DRIFT, "Over how long live rows are counted."),
        several(
            label_values(
                "variable",
                "variable",
                f"{HAVING},{MODEL}}}",
                "Inputs (feature:NAME), the score, the label, and how unlike training a row is (domain).",
            )
        ),
    ),
    (NOW_ROW, TIME_ROW, TABLE_ROW, STRANGE_ROW, TWO_SAMPLE_ROW, BARS_ROW),
    since="6h",
)
