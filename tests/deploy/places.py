"""Where mistakes are made in the manifests, as places are written, and what a mistake is."""

from __future__ import annotations

from typing import Any, NamedTuple

DEPLOYMENT = "Deployment/understudy"
POD = f"{DEPLOYMENT} spec.template.spec"
EDGE, SHADOW = f"{POD}.containers[edge]", f"{POD}.containers[shadow]"
CONFIG = "ConfigMap/understudy-config data[config.yaml]"
TAGS = "production: credit:gbm-1\ncandidates: [credit:gbm-2]\n"
CONTAINER: dict[str, Any] = {"name": "another", "image": "busybox:1.37"}
OURS = {"matchLabels": {"app.kubernetes.io/name": "understudy"}}
APPARMOR = {"container.apparmor.security.beta.kubernetes.io/edge": "unconfined"}
ROUTE = "HTTPRoute/understudy"
SCALED = "ScaledObject/understudy spec"
ROLLOUT = "Rollout/understudy spec"
CANARY = "Canary/understudy spec"
MONITOR = "PodMonitor/understudy"
SCALER = "HorizontalPodAutoscaler/understudy spec"
BUDGET = "PodDisruptionBudget/understudy spec"
POLICY = "NetworkPolicy/understudy spec"
POSTGRESQL = "StatefulSet/understudy-postgresql spec"
RULE = f"{ROUTE} spec.rules[0]"
SMALL = "small"
GATEWAY = "production with gateway"
KEDA = "production with keda"
ARGO = "production with argo-rollouts"
FLAGGER = "production with flagger"
MONITORING = "production with monitoring"
BUNDLES = "production with bundles"


class Fault(NamedTuple):
    """A value put, or with ``DROP`` taken away, at a place of a composition."""

    place: str
    new: Any
    message: str
    """Part of the problem that must come."""
    composition: str = "production"
