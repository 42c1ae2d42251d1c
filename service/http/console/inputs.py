"""Whether the traffic still looks like the reference data, and whether what is compared looks like it."""

from __future__ import annotations

from service.domain.pictures.charts.bars import Bar, bars
from service.http.console import words
from service.http.console.bins import shares
from service.http.console.blocks import Beside, Block, Chart, Fold, Part, Table, Words, cells, few
from service.http.console.reading import Document, at, entries, mapping, real, text

MOST_VARIABLES = 20
MOST_DETAILS = 6
MOST_APART = 8


def drift(candidate: Document, in_detail: bool) -> Part | None:
    """How far each variable has moved, the furthest first, and the bins of those that moved most."""
    found = [entry for entry in entries(candidate, "evidence", "drift") if _shift(entry) is not None]
    apart = _representative(mapping(candidate, "evidence", "representative"))
    if not found:
        return Part("Inputs and scores", tuple(apart)) if apart else None
    shown = found[:MOST_VARIABLES]
    head = ("Variable", "PSI", "Beyond chance", "z", "Rows")
    table = Table(
        "Shift of every variable",
        head,
        tuple(
            cells(
                _name(entry),
                *(words.amount(real(entry, key)) for key in ("psi", "excess", "z")),
                words.count(real(entry, "rows")),
            )
            for entry in shown
        ),
        few(len(found), MOST_VARIABLES, "variables"),
    )
    title = "Shift against the reference data (PSI beyond chance)"
    picture = bars([_bar(entry) for entry in shown], title)
    chosen = shown[: MOST_DETAILS if in_detail else 0]
    details = [detail for entry in chosen if (detail := _detail(entry)) is not None]
    blocks: list[Block] = [Chart(title, picture, table)]
    if details:
        blocks.append(Fold("What moved, bin by bin", (Beside(tuple((detail,) for detail in details)),)))
    return Part("Inputs and scores", (*blocks, *apart))


def _name(entry: Document) -> str:
    return words.variable(text(entry, "variable"))


def _shift(entry: Document) -> float | None:
    """Population stability index beyond what chance makes of so many rows."""
    excess = real(entry, "excess")
    return real(entry, "psi") if excess is None else excess


def _bar(entry: Document) -> Bar:
    shift, drifted = _shift(entry) or 0.0, at(entry, "drifted") is True
    said = words.amount(shift) + (" drifted" if drifted else "")
    return Bar(_name(entry), max(shift, 0.0), said, drifted)


def _detail(entry: Document) -> Chart | None:
    return shares(entries(entry, "bins"), "label", f"{_name(entry)}: share of the rows in each bin")


def _representative(found: Document) -> list[Block]:
    fair = at(found, "representative")
    if not isinstance(fair, bool):
        return []
    left = real(found, "left_out")
    kept = f"{words.rows(real(found, 'kept'))} compared, {words.count(left)} left out"
    if at(found, "judged") is False:
        return [Words(f"Too few rows to say whether those compared look like the traffic: {kept}.", "quiet")]
    if fair:
        return [Words(f"The compared rows look like the traffic: {kept}.")]
    said = Words(f"The compared rows do not look like the traffic: {kept}.", "warning")
    rows = tuple(
        cells(_name(entry), words.amount(real(entry, "psi")), words.amount(real(entry, "z")))
        for entry in entries(found, "variables")[:MOST_APART]
    )
    table = Table("Compared rows against those left out", ("Variable", "PSI", "z"), rows)
    return [said, *([table] if rows else [])]
