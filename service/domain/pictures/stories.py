"""Explanations that are told, not drawn: what would flip a decision, and what holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.domain.pictures.wording import Document, answer, clean, number, sentence, told


def story(document: Document) -> list[str]:
    """What the method's detail says, in sentences; empty where it says nothing that words can tell."""
    detail: Mapping[str, Any] = document.get("detail") or {}
    if document["method"] == "counterfactual":
        return _counterfactual(detail)
    if document["method"] == "anchor":
        return _anchor(detail, answer(document))
    if detail.get("fidelity_r2") is not None:
        share = number(round(float(detail["fidelity_r2"]), 3))
        return [f"The simple model that stands in for this one near the row has an R² of {share}."]
    return []


def _counterfactual(detail: Mapping[str, Any]) -> list[str]:
    if not detail.get("found"):
        said = ["No change of the features that may change was found that flips the decision."]
        if detail.get("searched") is not None:
            said.append(f"{int(detail['searched']):,} rows were tried.")
        return said + ([sentence(detail["reason"])] if detail.get("reason") else [])
    changes = [
        f"{clean(name)} {told(change['to'], 9)} instead of {told(change['from'], 9)}"
        for name, change in detail["changes"].items()
    ]
    label = f"be {clean(str(detail['label']))}" if detail.get("label") is not None else "flip"
    said = [f"With {_listed(changes)}, the answer would {label}."]
    if detail.get("plausible") is False:
        said.append("No reference row looks like that: the change may not be possible.")
    return said


def _anchor(detail: Mapping[str, Any], said: str | None) -> list[str]:
    if detail.get("found"):
        return _rule(detail, said)
    failed = ["No rule was found that holds the decision firmly enough."]
    failed += [sentence(detail["reason"])] if detail.get("reason") else []
    return failed + (["The best that was found:", *_rule(detail["best"], said)] if detail.get("best") else [])


def _rule(found: Mapping[str, Any], said: str | None) -> list[str]:
    conditions = [clean(str(part)) for part in found["rule"]]
    same = f"is {said}" if said is not None else "stays the same"
    where = f"wherever {_listed(conditions)}" if conditions else "whatever the row"
    holds = f"{_share(found['precision'])} of cases (at least {_share(found['precision_lower_bound'])})"
    return [
        sentence(f"{where}, the answer {same} in {holds}"),
        f"The rule applies to {_share(found['coverage'])} of the reference rows.",
    ]


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _share(share: Any) -> str:
    return f"{100 * float(share):.3g} %"
