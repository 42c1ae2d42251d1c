"""Pages of the console for tests, and how a browser and a screen reader read them."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

from service.http.console import console_page
from tests.domain.pictures.documents import HOSTILE, typed
from tests.http import drifts, evidence, reports

VOID = {"meta", "rect", "line", "image"}
MODELS, ROLLOUT, DRIFT, NOW = reports.models(), reports.rollout(), drifts.drift(), evidence.NOW


class Reader(HTMLParser):
    """Reads a page as a browser and a screen reader do."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.spoken: dict[str, str] = {}
        self.headings: list[tuple[int, str]] = []
        self.rows: list[list[str]] = []
        self.words = ""
        self._ids: list[str | None] = []
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in VOID:
            return
        self.open.append(tag)
        self._ids.append(dict(attrs).get("id"))
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append((int(tag[1]), ""))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._ids.pop()

    def handle_data(self, data: str) -> None:
        said = typed(data).replace("\u00a0", " ")
        for name in self._ids:
            if name:
                self.spoken[name] = self.spoken.get(name, "") + said
        if "style" in self.open or not self.open:
            return
        self.words += said
        if self.open[-1][0] == "h" and self.open[-1][1:].isdigit():
            level, text = self.headings[-1]
            self.headings[-1] = (level, text + said)
        if {"td", "th"} & set(self.open) and self.rows and self.rows[-1]:
            self.rows[-1][-1] += said

    def every(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == tag]


def page(report: Any = None, models: Any = None, rollout: Any = None, drift: Any = None) -> bytes:
    return console_page(
        reports.report() if report is None else report,
        MODELS if models is None else models,
        ROLLOUT if rollout is None else rollout,
        DRIFT if drift is None else drift,
        NOW,
    )


def read(report: Any = None, **other: Any) -> Reader:
    return Reader(page(report, **other))


def alone(candidate: dict[str, Any]) -> dict[str, Any]:
    return {"production": reports.PRODUCTION, "candidates": [candidate]}


def leaves(document: Any, change: Callable[[Any], Any]) -> Any:
    """The same document with every value changed that is no mapping and no list."""
    if isinstance(document, dict):
        return {key: leaves(value, change) for key, value in document.items()}
    if isinstance(document, list):
        return [leaves(value, change) for value in document]
    return change(document)


def renamed(document: Any) -> Any:
    """The same with hostile words for every word, and hostile names where bundles and callers give names."""
    if isinstance(document, dict):
        free = set(document) & {"renters", "Age", "good", "threads"}
        return {(f"{HOSTILE}{key}" if free else key): renamed(value) for key, value in document.items()}
    if isinstance(document, list):
        return [renamed(value) for value in document]
    return f"{HOSTILE}{document}" if isinstance(document, str) else document


def numbers(value: float) -> Callable[[Any], Any]:
    return lambda found: found if isinstance(found, str | bool) or found is None else value


MANY = {
    "production": reports.PRODUCTION,
    "candidates": [reports.better() | {"candidate": f"credit:gbm-{place}"} for place in range(40)],
}
NO_CANDIDATE = {"production": reports.PRODUCTION, "candidates": []}
REPORTS: dict[str, Any] = {
    "two candidates": reports.report(),
    "many candidates": MANY,
    "no candidate": NO_CANDIDATE,
    "nothing compared": alone(reports.empty()),
    "refused": alone(reports.empty(state="refused", reason="credit:gbm-2 fails parity: row 7 by 0.31")),
    "empty": {},
    "not a report": {"candidates": "none", "production": ["x"]},
}
DRIFTS: dict[str, Any] = {
    "nobody counts": drifts.nothing(),
    "no row yet": drifts.quiet(),
    "no drift document": {},
    "many drifts": drifts.many(),
}
CHANGES: dict[str, Callable[[Any], Any]] = {
    "every value null": lambda found: leaves(found, lambda value: None),
    "every number nought": lambda found: leaves(found, numbers(0)),
    "every number huge": lambda found: leaves(found, numbers(1e300)),
    "every number endless": lambda found: leaves(found, numbers(10**400)),
    "every number negative": lambda found: leaves(found, numbers(-7.5)),
    "every number tiny": lambda found: leaves(found, numbers(1e-300)),
    "every number none": lambda found: leaves(found, numbers(float("nan"))),
    "every text a number": lambda found: leaves(found, lambda value: 5 if isinstance(value, str) else value),
    "hostile": renamed,
}
PAGES = (
    {name: page(report) for name, report in REPORTS.items()}
    | {name: page(NO_CANDIDATE, drift=drift) for name, drift in DRIFTS.items()}
    | {name: page(change(reports.report()), drift=change(DRIFT)) for name, change in CHANGES.items()}
)
"""A page of every kind that has to be sound."""
