"""The rules and dashboards as objects of Kubernetes.

A client-side ``kubectl apply`` keeps each object once more in an annotation, and annotations of one object
hold at most ``MOST_BYTES``; a ConfigMap holds 1 MiB. So there is one dashboard to an object, without spaces.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

from deploy.grafana.board import Board
from deploy.prometheus.files import dumped
from deploy.prometheus.promql import Group

Document: TypeAlias = dict[str, Any]
"""One object of Kubernetes, as YAML has it."""

MOST_BYTES: Final = 262_144
"""Of an object's annotations (Kubernetes' TotalAnnotationSizeLimitB)."""
HEADER: Final = "# Written by `python -m deploy.kubernetes`; change the code it is made of, not this file.\n"
LABELS: Final = {"app.kubernetes.io/name": "understudy", "app.kubernetes.io/part-of": "understudy"}


def rule(name: str, groups: Sequence[Group]) -> Document:
    """Groups of rules for the Prometheus Operator."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": f"understudy-{name}", "labels": dict(LABELS)},
        "spec": {"groups": list(groups)},
    }


def dashboard(board: Board) -> Document:
    """A dashboard for the sidecar of Grafana's chart, which looks for the label ``grafana_dashboard``."""
    compact = json.dumps(json.loads(board.text()), ensure_ascii=False, separators=(",", ":"))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"understudy-dashboard-{board.name}",
            "labels": {**LABELS, "grafana_dashboard": "1"},
            "annotations": {"grafana_folder": "Understudy"},
        },
        "data": {f"understudy-{board.name}.json": f"{compact}\n"},
    }


def applied_bytes(document: Document) -> int:
    """What a client-side apply keeps of an object in its annotation."""
    return len(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())


def text(documents: Iterable[Document]) -> str:
    """A file of these objects."""
    return HEADER + "---\n".join(map(dumped, documents))
