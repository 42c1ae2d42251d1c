"""Grafana's dashboards, made by ``python -m deploy.grafana``: what people look at before and after an alert.

A ``Board`` says what is shown; ``kinds`` says how Grafana draws it. The JSON in ``dashboards`` is for Grafana
12.1 and newer, whose own names of units, colours and transformations it uses.
"""

from __future__ import annotations

import warnings

# The SDK would rather have dashboards of Grafana's second schema, which Grafana 12.1 does not read from
# files. It says so where these are imported, so that must be before any module of this package needs them.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import grafana_foundation_sdk.builders.barchart
    import grafana_foundation_sdk.builders.dashboard  # noqa: F401 - imported for its warnings
