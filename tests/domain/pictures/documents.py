"""Explanations as ``/explain`` answers them, for the tests of pictures."""

from __future__ import annotations

from typing import Any

from service.domain.pictures.wording import MINUS

MODEL = {"name": "credit", "version": "gbm-1", "arm": "production"}
HOSTILE = "</text><script>alert(1)</script>\"'&\u202e\x00"

VALUES = {"Age": 0.02, "Income": 0.625, "Home": -0.25, "Records": -1.125, "Debt": 0.0}
DATA = {"Age": 30, "Income": 129.0, "Home": "rent", "Records": "yes", "Debt": None}


def document(values: dict[str, float] | None = None, **other: Any) -> dict[str, Any]:
    """An explanation by an exact method; ``other`` replaces or adds keys."""
    values = VALUES if values is None else values
    return {
        "method": "tree-exact",
        "exact": True,
        "output": "margin",
        "label": "good",
        "base_value": 0.5,
        "values": values,
        "data": {name: DATA[name] for name in values if name in DATA},
        "standard_errors": None,
        "additivity_gap": 3e-7,
        "rows_evaluated": 0,
        "background": {"rows": 1000, "digest": "sha256:" + "0123456789abcdef" * 4},
        "off_manifold_share": None,
        "rank_certain_k": None,
        "certificate": None,
        "elapsed_ms": 0.3,
        "degraded": None,
        **other,
    }


def typed(text: str) -> str:
    """``text`` as a keyboard has it: with a hyphen for the minus sign."""
    return text.replace(MINUS, "-")


def many(count: int) -> dict[str, float]:
    """So many features with values of falling size and changing sign."""
    return {f"f{index}": (-1) ** index / (index + 1) for index in range(count)}


COUNTERFACTUAL = document(
    {},
    method="counterfactual",
    exact=False,
    additivity_gap=None,
    detail={
        "found": True,
        "changes": {"Income": {"from": 129.0, "to": 87.5}, "Home": {"from": "rent", "to": None}},
        "label": "bad",
        "plausible": False,
    },
)
ANCHOR = document(
    {},
    method="anchor",
    exact=False,
    additivity_gap=None,
    detail={
        "found": True,
        "rule": ["Home = rent", "Income <= 90"],
        "precision": 0.973,
        "precision_lower_bound": 0.953,
        "coverage": 0.124,
    },
)
LIME = document(
    method="lime", exact=False, additivity_gap=None, detail={"fidelity_r2": 0.834}, standard_errors=None
)
SAMPLED = document(
    method="permutation",
    exact=False,
    standard_errors={"Age": 0.01, "Income": 0.1, "Home": 0.05, "Records": 0.2, "Debt": 0.0},
    rank_certain_k=2,
    off_manifold_share=0.31,
    detail={"warning": "made-up rows say little about real ones"},
    degraded="stopped after 1,204 of 4,000 rows",
)
EVERY = {
    "exact": document(),
    "sampled": SAMPLED,
    "many": document(many(30)),
    "top": document(others={"features": 8, "value": -0.375}),
    "lime": LIME,
    "counterfactual": COUNTERFACTUAL,
    "anchor": ANCHOR,
    "regression": document(output="value", label=None, prediction={"value": 175.4}),
    "one": document({"Age": -2.0}),
    "zero": document({"Age": 0.0, "Home": 0.0}, base_value=0.0),
    "tiny": document({"Age": 3e-9, "Home": -1e-9}, base_value=1e-8),
    "huge": document({"Age": 3e9, "Home": -1e10}, base_value=1e8),
    "offset": document({"Age": 0.03, "Home": -0.01}, base_value=1e9),
    "hostile": document(
        {HOSTILE: 0.5, "名前" * 40: -0.4},
        label=HOSTILE,
        method=HOSTILE,
        degraded=HOSTILE,
        data={HOSTILE: HOSTILE},
        prediction={"label": HOSTILE},
        background={"rows": 10, "digest": HOSTILE},
    ),
    "hostile rule": {**ANCHOR, "detail": {**ANCHOR["detail"], "rule": [HOSTILE]}, "label": HOSTILE},
}
"""An explanation of every kind that pictures must cope with."""
