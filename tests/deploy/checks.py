"""Every check of manifests by its name: it takes all objects of a composition and returns what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from tests.deploy import custom, fit, ports, probes, references, resources, rules, scaling, security, strict
from tests.deploy.manifests import Documents

Check: TypeAlias = Callable[[Documents], list[str]]
"""Each problem begins with the object, then the place in it."""

CUSTOM: Mapping[str, Check] = {"custom kinds": custom.custom_problems, "rules": rules.rule_problems}
"""Need the schemas of operators' kinds."""
CHECKS: Mapping[str, Check] = {
    "core kinds": strict.core_problems,
    "identity": strict.identity_problems,
    **CUSTOM,
    "baseline": security.baseline_problems,
    "restricted": security.restricted_problems,
    "hardening": security.hardening_problems,
    "secrets": security.secret_problems,
    "selectors": references.selector_problems,
    "ports": ports.port_problems,
    "targets": references.target_problems,
    "volumes": references.volume_problems,
    "scaling": scaling.scaling_problems,
    "budgets": scaling.budget_problems,
    "spread": scaling.spread_problems,
    "probes": probes.probe_problems,
    "settings": fit.setting_problems,
    "routes": fit.route_problems,
    "isolation": fit.isolation_problems,
    "folders": fit.folder_problems,
    "patience": fit.patience_problems,
    "metrics": fit.metric_problems,
    "images": resources.image_problems,
    "resources": resources.resource_problems,
}
