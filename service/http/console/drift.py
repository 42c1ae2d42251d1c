"""Whether the traffic still looks like the reference data, for every model whose rows are counted.

Each variable is told for windows of several lengths side by side: what is new shows in the short one first,
and what lasts in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

from service.domain.drift.alerting import EXCESS, LEAST_ROWS, SURE
from service.http.console import words
from service.http.console.bins import change, known_shares, shares
from service.http.console.blocks import Beside, Block, Cell, Fold, Part, Table, Traffic, Words, cells, few
from service.http.console.reading import Document, at, entries, mapping, moment, real, text

WINDOWS = {"1h": "Last hour", "6h": "Last 6 hours", "24h": "Last 24 hours", "start": "Since the start"}
MOST_MODELS = 9
MOST_VARIABLES = 25
MOST_DETAILS, FEW_DETAILS = 6, 2
"""Variables that are shown bin by bin, of production and of a candidate."""
MOST_NAMES = 5
MOST_MEASURES = 20
SHADES = (0.02, 0.05, 0.1, 0.25, 0.5)
"""PSI beyond chance from which a cell is one shade darker."""
MOST_LOST = 0.01
"""Of the counted rows; that more are not counted is worth a warning."""
STALE = timedelta(minutes=1)
"""The shadow tells drift every ten seconds, unless it has no time or is no more."""
HOW = (
    "Each number is the PSI beyond what chance makes of so many rows: 0 is no shift. A variable has drifted "
    f"where it is above {EXCESS:g}, surely (z above {SURE:g}), in {LEAST_ROWS:,} rows or more."
)

TOGETHER = (
    "All inputs together: how often a classifier tells a live row from a reference row; half is chance."
)

Row: TypeAlias = Mapping[str, Document]
"""One variable by window."""


def traffic(document: Document, now: datetime) -> Traffic:
    """What the page says of drift.

    Args:
        document: as ``/drift`` answers it; whatever it lacks is left out.
        now: what its age is counted from.
    """
    found = entries(document, "models")
    models = [model for model in found if _counted(model)]
    as_of, since = moment(document, "as_of"), moment(models[0], "since") if models else None
    said = []
    if as_of is not None and models:
        said.append(f"As of {words.when(as_of)}, {words.age(now - as_of)} old")
    if since is not None:
        said.append(f"counted since {words.when(since)}")
    if lost := _lost(document):
        said.append(f"not counted: {_told(lost)}")
    shown = models[:MOST_MODELS]
    if len(models) > MOST_MODELS:
        said.append(f"{len(models) - MOST_MODELS:,} more models are in the JSON document")
    return Traffic(
        _word(models, document, as_of is not None and now - as_of > STALE),
        any(_drifted(model) or _apart(model) is not None for model in models[:1]),
        _warnings(document, found, now),
        "; ".join(said),
        tuple(_model(model, document, bool(place)) for place, model in enumerate(shown)),
    )


def _word(models: Sequence[Document], document: Document, old: bool) -> str:
    """Of production, for the index; what was calm when it was last told may not be so now."""
    if not models:
        return "unknown" if text(document, "reason") else "no rows yet"
    moved = len(_drifted(models[0]))
    if moved:
        return f"{moved} drifted"
    if _apart(models[0]) is not None:
        return "drifted together"
    if old:
        return "unknown"
    return "no drift" if _judged(models[0]) else "too few rows"


def _warnings(document: Document, found: Sequence[Document], now: datetime) -> tuple[str, ...]:
    """What is missing, and why."""
    said = []
    reason, store, as_of = text(document, "reason"), text(document, "store"), moment(document, "as_of")
    if reason is not None:
        said.append(f"Nothing is known of drift: {reason}.")
    elif not any(map(_counted, found)):
        said.append("No row has been counted yet; what the shadow gets is shown within seconds.")
    lost = _lost(document)
    if sum(lost.values()) > MOST_LOST * (real(document, "outcomes", "counted") or 0.0):
        said.append(
            f"Rows were answered that nobody counted, since the start of this replica: {_told(lost)}."
        )
    if as_of is not None and now - as_of > STALE:
        said.append(f"The shadow has told nothing for {words.age(now - as_of)}; what follows is old.")
    if store not in (None, "ok"):
        said.append(f"The store does not answer, so rows of other replicas may be missing: {store}")
    return tuple(said)


def _lost(document: Document) -> dict[str, float]:
    """Rows that are in no window although no sampling rate left them out, by why."""
    found = mapping(document, "outcomes")
    counts = {name: real(found, name) or 0.0 for name in found if name not in ("counted", "sampled_out")}
    return {name: rows for name, rows in counts.items() if rows > 0}


def _told(lost: Mapping[str, float]) -> str:
    return ", ".join(f"{words.count(rows)} {name.replace('_', ' ')}" for name, rows in lost.items())


def _model(model: Document, document: Document, folded: bool) -> Part:
    """All windows side by side, and the bins of what moved."""
    role = text(model, "role") or "model"
    title = f"{text(model, 'model') or 'unknown'}, {role}"
    heat = _heat(model)
    blocks: list[Block] = [_summary(model), Fold("Every variable by window", (heat,)) if folded else heat]
    details = tuple(_details(model, document, FEW_DETAILS if folded else MOST_DETAILS))
    if details:
        blocks.append(Fold("What drifted, bin by bin", (Beside(details),)))
    return Part(title, tuple(blocks))


def _summary(model: Document) -> Words:
    for window, called in WINDOWS.items():
        moved = _moved(mapping(model, "windows", window))
        if moved:
            named = [words.variable(text(entry, "variable")) for entry in moved[:MOST_NAMES]]
            more = f" and {len(moved) - MOST_NAMES:,} more" if len(moved) > MOST_NAMES else ""
            said = f"Drifted {_within(called)}: {', '.join(named)}{more}."
            return Words(f"{said}{_largest(moved[0])}", "warning")
    apart = _apart(model)
    if apart is not None:
        return Words(
            f"No variable has drifted by itself, but all of them together have, {_within(WINDOWS[apart])}.",
            "warning",
        )
    if _judged(model):
        return Words("No variable has drifted.")
    return Words(f"No window has the {LEAST_ROWS:,} rows that it takes to judge drift.", "quiet")


def _largest(entry: Document) -> str:
    """What changed most, for whoever knows no measure of it."""
    known = known_shares(entries(entry, "bins"), "bin")
    if not known:
        return ""
    most = max(known, key=change)
    return (
        f" Most of all {words.variable(text(entry, 'variable'))}, {most[0]}: {words.share(most[1])} of the"
        f" reference data, {words.share(most[2])} of the traffic."
    )


def _within(window: str) -> str:
    called = window[0].lower() + window[1:]
    return called if called.startswith("since") else f"in the {called}"


def _heat(model: Document) -> Table:
    """A row for each variable, the furthest first; a column for each window."""
    windows = {window: mapping(model, "windows", window) for window in WINDOWS}
    rows: dict[str, dict[str, Document]] = {}
    for window, found in windows.items():
        for entry in entries(found, "variables"):
            rows.setdefault(text(entry, "variable") or "unknown", {})[window] = entry
    order = sorted(rows, key=lambda name: -max(map(_furthest, rows[name].values()), default=0.0))
    counted = cells("Rows", *(words.count(real(found, "rows")) for found in windows.values()))
    table = [counted, *(_row(name, rows[name]) for name in order[:MOST_VARIABLES])]
    notes = [HOW]
    if any(mapping(found, "two_sample") for found in windows.values()):
        table.append((Cell("All inputs together"), *map(_told_apart, windows.values())))
        notes.append(TOGETHER)
    note = " ".join((*notes, few(len(rows), MOST_VARIABLES, "variables"))).rstrip()
    return Table("PSI beyond chance", ("Variable", *WINDOWS.values()), tuple(table), note)


def _row(name: str, row: Row) -> tuple[Cell, ...]:
    return (Cell(words.variable(name)), *(_shift(row.get(window)) for window in WINDOWS))


def _shift(entry: Document | None) -> Cell:
    """Dark only where it is more than chance, and drifted in words."""
    excess, sure = real(entry, "measures", "psi_excess"), real(entry, "measures", "psi_z")
    if excess is None:
        return Cell(words.NONE, number=True)
    shade = sum(excess >= least for least in SHADES) if sure is not None and sure > SURE else 0
    said = words.amount(round(excess, 3))
    if at(entry, "drifted") is True:
        return Cell(f"{said} drifted", number=True, shade=shade, mark="fail")
    return Cell(said, number=True, shade=shade)


def _told_apart(window: Document) -> Cell:
    accuracy = real(window, "two_sample", "accuracy")
    if accuracy is None:
        return Cell(words.NONE, number=True)
    said = f"{words.share(accuracy)} told"
    if at(window, "two_sample", "differs") is True:
        return Cell(f"{said}, differs", number=True, mark="fail")
    return Cell(said, number=True)


def _details(model: Document, document: Document, most: int) -> Iterator[tuple[Block, ...]]:
    """The bins of each variable that drifted, in the shortest window in which it did."""
    units = {text(entry, "name"): text(entry, "unit") for entry in entries(document, "measures")}
    seen: set[str | None] = set()
    for window, called in WINDOWS.items():
        for entry in _moved(mapping(model, "windows", window)):
            name = text(entry, "variable")
            if name in seen:
                continue
            seen.add(name)
            title = f"{words.variable(name)}, {called[0].lower()}{called[1:]}: share of the rows in each bin"
            chart = shares(entries(entry, "bins"), "bin", title, _measures(entry, units))
            if chart is not None and len(seen) <= most:
                yield (chart,)


def _measures(entry: Document, units: Mapping[str | None, str | None]) -> Table:
    found = mapping(entry, "measures")
    rows = [
        (
            Cell(_measure(name)),
            Cell(words.amount(real(found, name)), number=True),
            Cell(units.get(name) or ""),
        )
        for name in list(found)[:MOST_MEASURES]
    ]
    for key, said in (
        ("missing", "missing in the reference data"),
        ("unseen", "unseen in the reference data"),
    ):
        share = real(entry, f"reference_{key}_share")
        if share is not None:
            rows.append((Cell(said), Cell(words.amount(share), number=True), Cell("share of the rows")))
    return Table("Measures", ("Measure", "Value", "Unit"), tuple(rows))


def _measure(name: object) -> str:
    return str(name).replace("_", " ")[:80]


def _counted(model: Document) -> bool:
    """Whether any row was."""
    return any(real(model, "windows", window, "rows") for window in WINDOWS)


def _judged(model: Document) -> bool:
    """Whether any window has rows enough."""
    return any((real(model, "windows", window, "rows") or 0) >= LEAST_ROWS for window in WINDOWS)


def _moved(window: Document) -> list[Document]:
    return [entry for entry in entries(window, "variables") if at(entry, "drifted") is True]


def _drifted(model: Document) -> set[str | None]:
    """Variables that drifted in any window."""
    windows = (mapping(model, "windows", window) for window in WINDOWS)
    return {text(entry, "variable") for window in windows for entry in _moved(window)}


def _apart(model: Document) -> str | None:
    """The shortest window whose rows a classifier tells from the reference data, or None."""
    differs = (name for name in WINDOWS if at(model, "windows", name, "two_sample", "differs") is True)
    return next(differs, None)


def _furthest(entry: Document) -> float:
    return real(entry, "measures", "psi_excess") or 0.0
