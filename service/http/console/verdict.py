"""What is to be done with the candidate, by which criteria, and how the bounds came closer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from service.domain.pictures.charts.bounds import Point, bounds
from service.domain.pictures.charts.interval import interval
from service.domain.pictures.layout import Ink, Picture
from service.http.console import words
from service.http.console.blocks import (
    Banner,
    Beside,
    Cell,
    Chart,
    Mark,
    Part,
    Table,
    Words,
    cells,
    few,
)
from service.http.console.reading import Document, at, entries, moment, real, text

WORDS: dict[str, tuple[Literal["promote", "hold", "rollback"], str, str]] = {
    "promote": ("promote", "Promote", "Every criterion is met."),
    "hold": ("hold", "Hold", "The evidence does not decide yet."),
    "rollback": ("rollback", "Roll back", "It is surely worse than a margin allows."),
}
BECAUSE = {
    "better": "It is surely better than production.",
    "no_worse": "It is surely no worse than the margins allow.",
}
INKS: dict[str, Ink] = {"pass": "raise", "fail": "lower", "open": "muted", "waived": "muted"}
TRACKS = (("flip_rate", ("flip_rate", "beyond_tolerance")), ("accuracy", ("accuracy",)), ("loss", ("loss",)))
"""What the timeline holds, and the criteria that it may be the value of."""
MOST_CRITERIA = 40
MOST_REASONS = 8
MOST_POINTS = 120


def banner(candidate: Document) -> Banner:
    """The verdict in words; a candidate that is not judged says why."""
    verdict = at(candidate, "verdict")
    reasons = tuple(_reasons(verdict))
    if at(candidate, "state") == "refused":
        why = words.because("refused", text(candidate, "reason"))
        others = (said for said in reasons if said != why)
        return Banner("hold", "Hold", "The candidate cannot be judged.", (why, *others), "")
    known = WORDS.get(str(at(verdict, "state")))
    if known is None:
        return Banner("none", "No verdict yet", "Nothing has been judged so far.", reasons, "")
    state, word, usual = known
    because = BECAUSE.get(str(at(verdict, "because")), usual)
    more = real(verdict, "more_rows")
    needed = f"About {words.about(more)} more rows until it can be decided." if more else ""
    return Banner(state, word, because, reasons[:MOST_REASONS], needed if state == "hold" else "")


def criteria(candidate: Document) -> Part | None:
    """Every criterion with value, bounds, margin and rows."""
    verdict = at(candidate, "verdict")
    found = entries(verdict, "criteria")
    if not found:
        return None
    alpha = real(verdict, "alpha")
    note = "Bounds hold however often one looks"
    note += f": all of them at once but for {words.share(alpha)} of candidates." if alpha else "."
    idle = [entry for entry in found if at(entry, "state") == "waived" and not real(entry, "rows")]
    found = [entry for entry in found if entry not in idle]
    shown = found[:MOST_CRITERIA]
    head = ["Criterion", "State", "Bounds and margin", "Value", "Bounds", "Margin", "Rows"]
    rows = [_criterion(entry) for entry in shown]
    needed = [real(entry, "more_rows") for entry in shown]
    if any(needed):  # most of the time nothing more is needed
        head.append("More rows needed")
        said = (words.about(more) if more else words.NONE for more in needed)
        rows = [(*row, Cell(more, number=True)) for row, more in zip(rows, said, strict=True)]
    waiting = f"{len(idle):,} more need labels and are waived until these come." if idle else ""
    notes = (note, waiting, few(len(found), MOST_CRITERIA, "criteria"))
    table = Table(
        "Criteria of the verdict", tuple(head), tuple(rows), " ".join(filter(None, notes)), heard=True
    )
    return Part("Criteria", (table,))


def over_time(candidate: Document) -> Part | None:
    """How values and bounds moved while evidence came in."""
    timeline = entries(candidate, "evidence", "timeline")[-MOST_POINTS:]
    charts: list[Chart] = []
    for key, names in TRACKS:
        keys = (key, f"{key}_low", f"{key}_high")
        points = [point for entry in timeline if (point := _point(entry, keys)) is not None]
        if points and not (key == "loss" and len(charts) == 2):  # accuracy says the same in plainer terms
            charts.append(_chart(candidate, names, points))
    return Part("Over time", (Beside(tuple((chart,) for chart in charts)),)) if charts else None


def told(name: str) -> words.Write:
    """Writes values of a criterion."""
    if name == "accuracy":
        return words.points
    if name in ("loss", "cost"):
        return words.signed
    return words.amount if name == "gap" else words.share


def _reasons(verdict: Any) -> Iterator[str]:
    """Why the verdict is what it is; criteria are told from their own numbers, whose units are known here."""
    wanted = "fail" if at(verdict, "state") == "rollback" else ("fail", "open")
    for entry in entries(verdict, "reasons")[:MOST_REASONS]:
        code = text(entry, "code") or "unknown"
        if code not in words.CRITERIA:
            yield words.because(code, text(entry, "detail"))
    standing = [entry for entry in entries(verdict, "criteria") if at(entry, "state") in wanted]
    for entry in [] if at(verdict, "state") == "promote" else standing[:MOST_REASONS]:
        write = told(text(entry, "name") or "")
        span = words.span(write, real(entry, "low"), real(entry, "high"))
        surely = "surely beyond its margin" if at(entry, "state") == "fail" else "undecided"
        yield f"{_title(entry)}: {surely}. {write(real(entry, 'value'))}, bounds {span}; {_allowed(entry)}."


def _title(entry: Document) -> str:
    name = text(entry, "name") or "unknown"
    where = text(entry, "slice")
    title = words.CRITERIA.get(name, name.replace("_", " "))
    return title if where in (None, "all") else f"{title}, in {where}"


def _allowed(entry: Document) -> str:
    """The margin in words."""
    margin = real(entry, "margin")
    most = "at least" if at(entry, "direction") == "at_least" else "at most"
    if margin is None:
        return words.NONE
    write = told(text(entry, "name") or "")
    noise = real(entry, "noise")
    raised = f", noise {write(noise)}" if noise and noise > 0 else ""
    return f"{most} {write(margin)}{raised}"


def _criterion(entry: Document) -> tuple[Cell, ...]:
    write = told(text(entry, "name") or "")
    value = write(real(entry, "value"))
    ranged = words.span(write, real(entry, "low"), real(entry, "high"))
    state = text(entry, "state") or ""
    mark: Mark = state if state in words.STATES else ""  # type: ignore[assignment]  # the keys are the marks
    return (
        Cell(_title(entry)),
        Cell(words.STATES.get(state, state or words.NONE), mark=mark),
        Cell(words.NONE, picture=_picture(entry, mark, f"{value}, {ranged}, {_allowed(entry)}")),
        Cell(value, number=True),
        Cell(ranged, number=True),
        Cell(_allowed(entry), number=True),
        Cell(words.count(real(entry, "rows")), number=True),
    )


def _picture(entry: Document, mark: Mark, said: str) -> Picture | None:
    value, low, high, margin = (real(entry, key) for key in ("value", "low", "high", "margin"))
    if value is None or low is None or high is None or margin is None:
        return None
    allowed: Literal["at_most", "at_least"] = (
        "at_least" if at(entry, "direction") == "at_least" else "at_most"
    )
    return interval(value, low, high, margin, allowed, INKS.get(mark, "muted"), said)


def _point(entry: Document, keys: tuple[str, str, str]) -> Point | None:
    when = moment(entry, "at")
    value, low, high = (real(entry, key) for key in keys)
    if when is None or value is None or low is None or high is None:
        return None
    return Point(when.timestamp(), words.day(when), value, low, high)


def _chart(candidate: Document, names: tuple[str, ...], points: list[Point]) -> Chart:
    name, margin = names[0], None
    for entry in entries(candidate, "verdict", "criteria"):
        if at(entry, "name") in names and at(entry, "slice") in (None, "all"):
            name, margin = str(at(entry, "name")), real(entry, "margin")
    write = told(name)
    title = words.CRITERIA[name]
    latest = points[-12:]
    table = Table(
        f"{title}, the latest looks",
        ("When (UTC)", "Value", "From", "To"),
        tuple(cells(point.when, write(point.value), write(point.low), write(point.high)) for point in latest),
    )
    return Chart(f"{title}, with its bounds", bounds(points, margin, write, title), table)


def nothing_kept(compared: float) -> Words:
    """What stands where there is no evidence, of a candidate with so many ``compared`` rows."""
    if compared:
        return Words("Rows have been compared; what they show is written down within seconds.", "quiet")
    said = "Nothing has been compared yet. Evidence appears within seconds of the first mirrored request."
    return Words(said, "quiet")
