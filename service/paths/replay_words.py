"""A replay's report in a few lines, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SHOWN = 3
"""Examples of each kind; the report has more."""


def inconsistent(document: Mapping[str, Any]) -> Iterator[str]:
    """What production does not answer again; first of all, because then nothing else may hold."""
    found = document["inconsistent"]
    if not found["checked"]:
        yield "No recorded answers of production to check."
        return
    if not found["rows"]:
        yield f"Production answers all {found['checked']} recorded rows as it did then."
        return
    yield (
        f"WARNING: production does not answer as recorded on {found['rows']} of {found['checked']} rows "
        f"({found['flipped']} with another label; largest difference {found['largest_difference']:.3g}):"
    )
    for example in found["examples"][:SHOWN]:
        where = _where(example)
        yield f"  {where}: recorded {_answer(example['recorded'])}, now {_answer(example['now'])}"


def summary(document: Mapping[str, Any]) -> Iterator[str]:
    """What was compared, how far the models differ, and the verdict."""
    told, verdict, evidence = document["replay"], document["verdict"], document["evidence"]
    yield f"{told['candidate']} beside {told['production']}, {told['rows']} rows of {told['source']}:"
    yield f"  compared {told['compared']}, with known truth {told['labelled']}"
    for name, text in (
        ("failed", "on which the candidate failed"),
        ("unanswered", "on which production itself failed"),
        ("redacted", "left out because columns of theirs are redacted"),
    ):
        if told[name]:
            yield f"  {told[name]} rows {text}"
    skipped = told["skipped"]
    if skipped["records"]:
        yield f"  {skipped['records']} records skipped because they do not fit:"
        yield from (f"    {each['place']}: {each['detail']}" for each in skipped["examples"][:SHOWN])
    if told["fields_left_out"]:
        yield f"  fields that are no feature's: {', '.join(told['fields_left_out'])}"
    yield from _measures(evidence)
    because = f" ({verdict['because'].replace('_', ' ')})" if verdict["because"] else ""
    yield f"verdict: {verdict['state']}{because}"
    yield from (f"  {reason['code']}: {reason['detail']}" for reason in verdict["reasons"])
    if verdict["more_rows"]:
        yield f"  about {verdict['more_rows']} more rows would decide it"


def _measures(evidence: Mapping[str, Any]) -> Iterator[str]:
    measures = evidence["measures"]
    flips, gap = measures.get("flips"), measures.get("gap")
    if flips is not None and flips["rate"] is not None:
        yield f"  other label {flips['flipped']} ({flips['rate']:.2%})"
    if gap is not None and gap["mean"] is not None:
        yield f"  mean score gap {gap['mean']:.4g}"
    labelled = evidence["labelled"]
    accuracy = None if labelled is None else labelled.get("accuracy")
    if accuracy is not None and accuracy["production"] is not None:
        yield f"  right: production {accuracy['production']:.2%}, candidate {accuracy['candidate']:.2%}"


def _where(example: Mapping[str, Any]) -> str:
    request = f", request {example['request_id']}" if example["request_id"] else ""
    return f"{example['place']}{request}, instance {example['row']}"


def _answer(answer: Mapping[str, Any]) -> str:
    if "value" in answer:
        return f"{answer['value']:.6g}"
    scores = ", ".join(f"{name} {score:.6g}" for name, score in answer["probabilities"].items())
    return f"{answer['label']} ({scores})"
