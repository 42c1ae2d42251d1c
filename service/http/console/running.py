"""How the candidate runs: speed, failures, what became of every row, and checks of its behaviour."""

from __future__ import annotations

from service.http.console import words
from service.http.console.blocks import Beside, Block, Cell, Facts, Mark, Part, Table, Words, cells, few
from service.http.console.reading import Document, at, entries, mapping, real, text

MOST_CHECKS = 40


def accounting(candidate: Document) -> Part:
    """What became of every row of the traffic, of this replica and of all of them."""
    here, everywhere = mapping(candidate, "rows"), mapping(candidate, "evidence", "outcomes")
    offered = real(here, "offered")
    whole = sum(real(everywhere, name) or 0.0 for name in words.OUTCOMES)
    rows = [
        cells(said, words.count(real(here, name)), words.count(real(everywhere, name)))
        for name, said in words.OUTCOMES.items()
        if real(here, name) or real(everywhere, name) or name == "compared"
    ]
    if real(here, "in_flight"):
        rows.append(cells("On their way", words.count(real(here, "in_flight")), words.NONE))
    total = cells("Rows in all", words.count(offered), words.count(whole) if whole else words.NONE)
    head = ("What became of the rows", "This replica, since its start", "All replicas, as kept")
    table = Table("Every row of the traffic", head, (*rows, total), heard=True)
    return Part("Shadow accounting", (table,))


def speed(candidate: Document) -> Part | None:
    """CPU time of both models for the same rows, and failures."""
    found = mapping(candidate, "evidence", "speed")
    before, after = real(found, "production_seconds_per_row"), real(found, "candidate_seconds_per_row")
    ratio, low, high = (real(found, key) for key in ("ratio", "low", "high"))
    facts: list[tuple[str, str]] = []
    if before is not None or after is not None:
        facts.append(("Production, CPU time per row", words.seconds(before)))
        facts.append(("Candidate, CPU time per row", words.seconds(after)))
    if ratio is not None:
        bound = f", {words.span(words.amount, low, high)}" if low is not None else ""
        facts.append(("Candidate against production", f"{words.amount(ratio)} times{bound}"))
    outcomes = mapping(candidate, "evidence", "outcomes")
    failed, compared = real(outcomes, "candidate_error"), real(outcomes, "compared")
    if failed is not None and compared is not None and failed + compared > 0:
        share = words.share(failed / (failed + compared))
        facts.append(("Failures", f"{words.count(failed)} of {words.rows(failed + compared)} ({share})"))
    shown = mapping(candidate, "seconds_per_row")
    slow = real(shown, "p99_at_most")
    if slow is not None:
        facts.append(("99 of 100 rows take at most", words.seconds(slow)))
    return Part("Speed and failures", (Facts(tuple(facts)),)) if facts else None


def behaviour(candidate: Document) -> Part | None:
    """The checks that came with the bundle."""
    found = mapping(candidate, "evidence", "behaviour")
    checks = entries(found, "checks")
    if not checks:
        return None
    failed = [check for check in checks if at(check, "passed") is False]
    serious = [check for check in failed if at(check, "severity") != "warn"]
    passed = [check for check in checks if at(check, "passed") is True]
    said = (
        "Every check passes."
        if len(passed) == len(checks)
        else f"{len(passed)} of {len(checks)} checks pass."
    )
    if failed and not serious:
        said += " None that fails keeps it from promotion."
    rows = tuple(_check(check) for check in checks[:MOST_CHECKS])
    head = ("Check", "Kind", "Result", "Rows", "Share that holds", "At least")
    table = Table("Checks of behaviour", head, rows, few(len(checks), MOST_CHECKS, "checks"), heard=True)
    return Part("Behaviour", (Words(said, "warning" if serious else "plain"), table))


def canary(rollout: Document) -> Part:
    """Who answers which share of the requests."""
    name, share = text(rollout, "candidate"), real(rollout, "share_basis_points")
    blocks: list[Block] = []
    if name is None or not share:
        blocks.append(Words("Production answers every request; no canary is running."))
    else:
        said = f"{name} answers {words.share(share / 10_000)} of the routing keys, production the others."
        blocks.append(Words(said))
        if at(rollout, "breaker") == "open":
            blocks.append(
                Words("The canary fails and is paused: production answers all requests.", "warning")
            )
    refused = mapping(rollout, "refused")
    if refused:
        reason = text(refused, "reason") or "the reason is not known"
        blocks.append(Words(f"The newest change of the rollout was refused: {reason}", "warning"))
    return Part("Canary", tuple(blocks))


def reasons(candidate: Document) -> Part | None:
    """How far the reasons of the two models differ over the traffic."""
    found = mapping(candidate, "explanations")
    explained, distance = real(found, "explained"), real(found, "distance", "mean")
    if not explained or distance is None:
        return None
    facts = [
        ("Rows explained by both models", words.count(explained)),
        ("Mean distance of the reasons, 0 to 1", words.amount(distance)),
        ("Shared among the top features", words.share(real(found, "top_overlap"))),
    ]
    moved = tuple(
        cells(text(entry, "feature") or "unknown", words.share(real(entry, "mean")))
        for entry in entries(found, "moved")[:8]
    )
    said = Facts(tuple(facts))
    if not moved:
        return Part("Reasons", (said,))
    table = Table("Whose share of the influence moves most", ("Column", "Mean move"), moved)
    return Part("Reasons", (Beside(((said,), (table,))),))


def _check(check: Document) -> tuple[Cell, ...]:
    passed = at(check, "passed")
    mark: Mark = "pass" if passed is True else "fail" if passed is False else "open"
    return (
        Cell(text(check, "name") or "unknown"),
        Cell((text(check, "kind") or words.NONE).replace("_", " ")),
        Cell(words.STATES[mark], mark=mark),
        Cell(words.count(real(check, "rows")), number=True),
        Cell(words.share(real(check, "rate")), number=True),
        Cell(words.share(real(check, "at_least")), number=True),
    )
