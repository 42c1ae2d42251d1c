"""*Shadow*: how a candidate differs from production, on how much of the traffic, and what is said of it."""

from __future__ import annotations

from deploy.grafana.board import Board, label_values, several
from deploy.grafana.panel import (
    BAD,
    FINE,
    WATCH,
    Kind,
    Panel,
    Query,
    Row,
    less_is_worse,
    mean,
    more_is_worse,
    or_nought,
    quantile,
)
from deploy.prometheus.budgets import CREEPING, FAST, FLIPPED, VERDICT
from deploy.prometheus.windows import BURN

THIS = 'candidate="$candidate"'
FLIPS = more_is_worse(CREEPING.rate * FLIPPED, FAST.rate * FLIPPED)
DISAGREEMENT = ("DisagreementFast", "DisagreementSlow")
VERDICTS = ("VerdictRollback", "VerdictChanged")

VERDICT_ROW = Row(
    "What is said of the candidate",
    (
        Panel(
            Kind.NUMBER,
            "Verdict",
            "What is said of the candidate now: promote, hold or rollback. GET /shadow/report has why.",
            "string",
            (Query(f"max by (state) (understudy_verdict{{{THIS}}}) == 1", "{{state}}"),),
            VERDICTS,
            empty="no verdict yet",
            width=4,
            height=4,
        ),
        Panel(
            Kind.NUMBER,
            "Disagreement, last hour",
            f"Share of the compared rows with another label than production's. The budget is {FLIPPED:.0%}.",
            "percentunit",
            (Query(f'understudy:shadow_flip_ratio:1h{{{THIS},slice="all"}}', "disagreement"),),
            DISAGREEMENT,
            FLIPS,
            empty="no row compared",
            width=5,
            height=4,
        ),
        Panel(
            Kind.NUMBER,
            "Coverage, last 30 minutes",
            "Share that was compared, of all rows that production answered. Below half the verdict holds.",
            "percentunit",
            (Query(f"understudy:shadow_coverage_ratio:30m{{{THIS}}}", "coverage"),),
            ("ShadowBlind",),
            less_is_worse(VERDICT.least_coverage),
            empty="no traffic",
            width=5,
            height=4,
        ),
        Panel(
            Kind.NUMBER,
            "Rows compared",
            "Rows a second over five minutes, of all replicas.",
            "rowsps",
            (Query(f"understudy:shadow_compared_rows:rate5m{{{THIS}}}", "rows compared"),),
            ("ShadowBlind",),
            width=5,
            height=4,
        ),
        Panel(
            Kind.NUMBER,
            "Breaker",
            "Open while the shadow leaves the candidate alone, because it failed too often or too slowly.",
            "none",
            (Query(f"max(understudy_breaker_open{{{THIS}}})", "breaker"),),
            ("BreakerOpen",),
            more_is_worse(1),
            {0: ("closed", FINE), 1: ("open", BAD)},
            width=5,
            height=4,
        ),
        Panel(
            Kind.STATES,
            "Verdict over time",
            "Which of the three was said when. Several at once: replicas do not agree yet.",
            "none",
            (Query(f"max by (state) (understudy_verdict{{{THIS}}})", "{{state}}"),),
            VERDICTS,
            ((None, "transparent"), (1, "blue")),
            {0: (" ", "transparent"), 1: ("said", "blue")},
            width=24,
            height=5,
        ),
    ),
)

DISAGREEMENT_ROW = Row(
    "Disagreement",
    (
        Panel(
            Kind.LINES,
            "Disagreement by slice",
            """Share of the compared rows with another label than production's, over an hour. Dashed: six and
            14.4 times the budget, at which alerts are written.""",
            "percentunit",
            (Query(f'understudy:shadow_flip_ratio:1h{{{THIS},slice=~"$slice"}}', "{{slice}}"),),
            DISAGREEMENT,
            FLIPS,
            least=0,
        ),
        Panel(
            Kind.LINES,
            "How fast the budget is spent",
            f"""Disagreement on all rows as a multiple of the budget of {FLIPPED:.0%}, by window. An alert
            wants a long and a short window above a dashed line.""",
            "suffix:times",
            tuple(
                Query(f'understudy:shadow_flip_ratio:{window}{{{THIS},slice="all"}} / {FLIPPED}', window)
                for window in BURN
            ),
            DISAGREEMENT,
            more_is_worse(CREEPING.rate, FAST.rate),
            least=0,
        ),
        Panel(
            Kind.RANKING,
            "Which labels changed, last hour",
            "Rows by production's label and the candidate's, where the two differ.",
            "short",
            (
                Query(
                    or_nought(
                        f"""sort_desc(sum by (from, to) (
                            increase(understudy_shadow_flips_total{{{THIS},slice="all"}}[1h])))""",
                        **{"from": "none"},
                    ),
                    "{{from}} to {{to}}",
                ),
            ),
            DISAGREEMENT,
            least=0,
            width=8,
        ),
        Panel(
            Kind.HISTOGRAM,
            "Gap of the scores",
            """Compared rows by the absolute difference of the two scores: of probabilities, or in the
            regression's unit.""",
            "none",
            (
                Query(
                    f"sum by (le) (increase(understudy_shadow_gap_bucket{{{THIS}}}[$__rate_interval]))",
                    "{{le}}",
                ),
            ),
            DISAGREEMENT,
            width=8,
        ),
        Panel(
            Kind.LINES,
            "Mean gap, over an hour",
            "Mean absolute difference of the two scores of a row.",
            "none",
            (Query(f"understudy:shadow_gap_mean:1h{{{THIS}}}", "mean gap"),),
            DISAGREEMENT,
            least=0,
            width=8,
        ),
    ),
)

COVERAGE_ROW = Row(
    "Coverage",
    (
        Panel(
            Kind.STACK,
            "What became of the rows",
            """Rows that were to be mirrored by their outcome, over 30 minutes. Whatever is not compared was
            left out on purpose (sampled_out) or for want of time or room; callers never wait for it.""",
            "percentunit",
            (Query(f"understudy:shadow_outcome_ratio:30m{{{THIS}}}", "{{outcome}}"),),
            ("ShadowBlind", "BreakerOpen"),
            least=0,
            most=1,
        ),
        Panel(
            Kind.LINES,
            "Evidence lost, by hour",
            "Rows and single cases that were given up since the store did not take them. Sums are not lost.",
            "short",
            (
                Query(
                    or_nought(
                        f"sum by (kind) (increase(understudy_evidence_lost_total{{{THIS}}}[1h]))", kind="none"
                    ),
                    "{{kind}}",
                ),
            ),
            ("EvidenceLost", "StoreFailing"),
            more_is_worse(1),
            least=0,
        ),
    ),
)

_HIS = mean("understudy_shadow_seconds", THIS, "5m", "job")
_ANSWERED = 'sum by (job) (increase(understudy_{}{{arm="production"}}[5m]))'
_OURS = f"({_ANSWERED.format('predict_seconds_sum')} / ({_ANSWERED.format('predictions_total')} > 0))"

LATENCY_ROW = Row(
    "Latency",
    (
        Panel(
            Kind.LINES,
            "Inference of a row",
            "CPU seconds of the candidate's inference per row, over five minutes.",
            "s",
            tuple(
                Query(quantile(share, f"understudy_shadow_seconds_bucket{{{THIS}}}"), name)
                for name, share in (("p50", 0.5), ("p99", 0.99))
            ),
            ("BreakerOpen",),
            least=0,
        ),
        Panel(
            Kind.LINES,
            "Latency ratio",
            """The candidate's CPU seconds per row against production's seconds per row answered, from the
            request's last byte to the answer. Production's hold all that HTTP costs, so that a candidate far
            below 1 is cheap and one above 1 would make answers at least twice as slow.""",
            "suffix:times",
            (Query(f"{_HIS} / {_OURS}", "{{job}}"),),
            ("LatencyFast", "LatencySlow"),
            more_is_worse(1),
            least=0,
        ),
    ),
)

_EXPLAINED = f"sum(increase(understudy_shadow_explained_rows_total{{{THIS}}}[1h]))"

REASONS_ROW = Row(
    "Reasons",
    (
        Panel(
            Kind.LINES,
            "How far reasons differ, over an hour",
            """Of rows explained under both models: the mean distance of the two explanations, 0 the same and
            1 nothing in common; and the share of the top features that both name.""",
            "percentunit",
            (
                Query(mean("understudy_shadow_explanation_distance", THIS, "1h"), "distance"),
                Query(
                    f"""sum(increase(understudy_shadow_explanation_overlaps_total{{{THIS}}}[1h]))
                    / ({_EXPLAINED} > 0)""",
                    "same top features",
                ),
            ),
            DISAGREEMENT,
            least=0,
            most=1,
        ),
        Panel(
            Kind.HISTOGRAM,
            "Distance of explanations",
            "Explained rows by how far the two models' reasons differ: 0 the same, 1 nothing in common.",
            "none",
            (
                Query(
                    f"""sum by (le) (increase(
                        understudy_shadow_explanation_distance_bucket{{{THIS}}}[$__rate_interval]))""",
                    "{{le}}",
                ),
            ),
            DISAGREEMENT,
        ),
        Panel(
            Kind.RANKING,
            "Which features' influence moved, last hour",
            "Mean difference of a feature's share of the influence under the two models; the ten largest.",
            "percentunit",
            (
                Query(
                    f"""sort_desc(topk(10,
                    sum by (feature) (increase(understudy_shadow_influence_moved_total{{{THIS}}}[1h]))
                    / on () group_left () ({_EXPLAINED} > 0)))""",
                    "{{feature}}",
                ),
            ),
            DISAGREEMENT,
            least=0,
            empty="no row explained",
        ),
        Panel(
            Kind.LINES,
            "Rows not explained, by hour",
            "Compared rows that were to be explained and were not, by the reason.",
            "short",
            (
                Query(
                    or_nought(
                        f"""sum by (reason) (
                            increase(understudy_shadow_unexplained_rows_total{{{THIS}}}[1h]))""",
                        reason="none",
                    ),
                    "{{reason}}",
                ),
            ),
            ("ShadowBlind",),
            ((None, FINE), (1, WATCH)),
            least=0,
        ),
    ),
)

BOARD = Board(
    "shadow",
    "Understudy: shadow",
    "How a candidate differs from production, on how much of the traffic, and what is said of it.",
    (
        label_values(
            "candidate",
            "candidate",
            "understudy_shadow_rows_total",
            "The model that is compared; NAME:VERSION.",
        ),
        several(
            label_values(
                "slice",
                "slice",
                'understudy_shadow_compared_rows_total{candidate="$candidate"}',
                "Parts of the traffic that the bundle names; every row is in all.",
            )
        ),
    ),
    (VERDICT_ROW, DISAGREEMENT_ROW, COVERAGE_ROW, LATENCY_ROW, REASONS_ROW),
    since="3h",
)
