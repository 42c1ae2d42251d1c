"""Of *Service*: what is left out, lost or late behind the answers, and what runs."""

from __future__ import annotations

from deploy.grafana.panel import BAD, FINE, Kind, Panel, Query, Row, more_is_worse, or_nought, quantile

JOB = 'job=~"$job"'


def by_hour(family: str, labels: str, **nought: str) -> str:
    """What a counter counted in an hour, or one 0 where it counted nothing."""
    return or_nought(f"sum by ({labels}) (increase({family}{{{JOB}}}[1h]))", **nought)


SATURATION_ROW = Row(
    "Saturation",
    (
        Panel(
            Kind.STACK,
            "Rows mirrored to candidates, by outcome",
            "Rows a second over five minutes. Rows are shed (queue_full, too_large) before callers wait.",
            "rowsps",
            (
                Query(
                    f"sum by (outcome) (rate(understudy_shadow_rows_total{{{JOB}}}[5m]))",
                    "{{outcome}}",
                ),
            ),
            ("ShadowBlind", "BreakerOpen"),
            least=0,
        ),
        Panel(
            Kind.STACK,
            "Rows to be recorded, by outcome",
            "Rows a second over five minutes whose answer was to be kept until its label comes.",
            "rowsps",
            (
                Query(
                    f"sum by (outcome) (rate(understudy_records_total{{{JOB}}}[5m]))",
                    "{{outcome}}",
                ),
            ),
            ("StoreFailing",),
            least=0,
        ),
        Panel(
            Kind.STATES,
            "Store",
            "Whether the last try to use the store succeeded on every replica, by what is written.",
            "none",
            (Query(f"min by (writer) (understudy_store_up{{{JOB}}})", "{{writer}}"),),
            ("StoreFailing", "EvidenceLost"),
            ((None, BAD), (1, FINE)),
            {0: ("failing", BAD), 1: ("works", FINE)},
        ),
        Panel(
            Kind.STATES,
            "Models",
            "Whether every replica can use the model: it loads, and answers as it did when it was packaged.",
            "none",
            (
                Query(
                    f"min by (model, version, role) (understudy_model_ready{{{JOB}}})",
                    "{{model}}:{{version}} {{role}}",
                ),
            ),
            ("ModelNotReady",),
            ((None, BAD), (1, FINE)),
            {0: ("refused", BAD), 1: ("ready", FINE)},
        ),
        Panel(
            Kind.LINES,
            "Explanations: seconds by method",
            "Seconds spent on explaining the rows of one request, over five minutes; 0 while nobody asks.",
            "s",
            tuple(
                Query(
                    or_nought(
                        quantile(share, f"understudy_explain_seconds_bucket{{{JOB}}}", "le, method"),
                        method="none",
                    ),
                    f"{name} {{{{method}}}}",
                )
                for name, share in (("p50", 0.5), ("p99", 0.99))
            ),
            ("LatencyFast", "LatencySlow"),
            least=0,
        ),
        Panel(
            Kind.LINES,
            "Input violations by feature and kind, by hour",
            "Values that do not fit the schema, or are unlike what training saw; the ten most frequent.",
            "short",
            (
                Query(
                    f"""topk(10, {
                        by_hour(
                            "understudy_input_violations_total", "feature, kind", feature="none", kind="none"
                        )
                    })""",
                    "{{feature}}: {{kind}}",
                ),
            ),
            ("InputsRefused", "UnseenValues"),
            least=0,
        ),
        Panel(
            Kind.LINES,
            "Unlike the training data, of all rows",
            "Share of the rows answered in the last hour that the training data had nothing like.",
            "percentunit",
            (
                Query(
                    f"""(
                      sum by (model, version) (increase(understudy_out_of_domain_total{{{JOB}}}[1h]))
                      or sum by (model, version) (increase(understudy_domain_rows_total{{{JOB}}}[1h])) * 0
                    )
                    / (sum by (model, version) (increase(understudy_domain_rows_total{{{JOB}}}[1h])) > 0)""",
                    "{{model}}:{{version}}",
                ),
            ),
            ("DriftPage", "UnseenValues"),
            least=0,
            empty="no row was judged",
            width=8,
        ),
        Panel(
            Kind.LINES,
            "Feedback by outcome, by hour",
            "Requests with labels, by what became of them; 0 while none came.",
            "short",
            (Query(by_hour("understudy_feedback_total", "outcome", outcome="none"), "{{outcome}}"),),
            ("StoreFailing",),
            least=0,
            width=8,
        ),
        Panel(
            Kind.LINES,
            "Lost, by hour",
            "Evidence, labels that fit no answer, and spans of traces that were given up.",
            "short",
            (
                Query(by_hour("understudy_evidence_lost_total", "kind", kind="evidence"), "{{kind}}"),
                Query(
                    or_nought(f"sum(increase(understudy_labels_misfit_total{{{JOB}}}[1h]))"), "labels misfit"
                ),
                Query(
                    or_nought(f"sum(increase(understudy_spans_dropped_total{{{JOB}}}[1h]))"), "spans dropped"
                ),
            ),
            ("EvidenceLost",),
            more_is_worse(1),
            least=0,
            width=8,
        ),
        Panel(
            Kind.LINES,
            "Reading the metrics page",
            "Seconds that Prometheus needs to read a replica's page.",
            "s",
            (Query(f"scrape_duration_seconds{{{JOB}}}", "{{instance}}"),),
            ("Down",),
            least=0,
        ),
        Panel(
            Kind.TABLE,
            "What runs",
            "Replicas by the model that they serve and the release of the service.",
            "short",
            (
                Query(
                    f"""sum by (runs) (label_join(
                        understudy_build_info{{{JOB}}}, "runs", " ", "model", "model_version", "version"
                    ))""",
                    "replicas",
                ),
            ),
            ("Down", "ModelNotReady"),
            by="runs",
        ),
    ),
)
