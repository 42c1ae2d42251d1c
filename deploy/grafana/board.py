"""A dashboard: its rows of panels, and what people choose at its top."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from deploy.grafana.kinds import SOURCE, drawn
from deploy.grafana.panel import Panel, Row

GRAFANA = "12.1"
"""The release that the dashboards are written for; newer ones bring them up to date as they read them."""
SCHEMA = 41
"""Of dashboards in that release."""
TAG = "understudy"
RUNBOOKS = "/public/runbooks"
"""Where Grafana serves what lies in its folder ``public``; deploy/compose puts the runbooks there."""
EVERY = "$__all"

Choice: TypeAlias = dashboard.QueryVariable | dashboard.CustomVariable


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard."""

    name: str
    """Of its file; with ``TAG`` before it the uid, which must stay as it is: links are made of it."""
    title: str
    description: str
    choices: tuple[Choice, ...]
    rows: tuple[Row, ...]
    since: str
    """How far back it looks at first; short enough that a service of this morning fills it."""

    @property
    def uid(self) -> str:
        return f"{TAG}-{self.name}"

    def panels(self) -> Iterator[Panel]:
        """All of them, in order."""
        for row in self.rows:
            yield from row.panels

    def text(self) -> str:
        """The dashboard's JSON."""
        return json.dumps(self.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"

    def build(self) -> model.Dashboard:
        """As Grafana wants it; panels have the numbers of their places, which links to them use."""
        board = dashboard.Dashboard(self.title).uid(self.uid).tags([TAG]).refresh("30s").readonly()
        board.description(f"{' '.join(self.description.split())} For Grafana {GRAFANA} and newer.")
        board.time(f"now-{self.since}", "now").tooltip(model.DashboardCursorSync.CROSSHAIR)
        board.variables([_source(), *self.choices, _runbooks()]).link(_others()).annotation(_alerts())
        number = 0
        for row in self.rows:
            board.with_row(dashboard.Row(row.title).id(number := number + 1))
            for panel in row.panels:
                board.with_panel(drawn(panel).id(number := number + 1))
        built = board.build()
        built.schema_version = SCHEMA
        return built


def label_values(name: str, label: str, series: str, description: str) -> dashboard.QueryVariable:
    """A choice of one of a label's values, first the first; ``series`` may have variables before it."""
    query = f"label_values({series}, {label})"
    asked = dashboard.QueryVariable(name).label(name).description(description).datasource(SOURCE)
    asked.query(query).definition(query).refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return asked.sort(model.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)


def several(choice: dashboard.QueryVariable) -> dashboard.QueryVariable:
    """The same where any number of values may be chosen, at first all."""
    every = model.VariableOption(selected=True, text="All", value=EVERY)
    return choice.multi(True).include_all(True).all_value(".+").current(every)


def one_of(name: str, values: tuple[str, ...], description: str) -> dashboard.CustomVariable:
    """A choice of fixed values, first the first."""
    options = [model.VariableOption(value == values[0], value, value) for value in values]
    chosen = dashboard.CustomVariable(name).label(name).description(description)
    return chosen.values(",".join(values)).options(options).current(options[0])


def _source() -> dashboard.DatasourceVariable:
    return dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")


def _runbooks() -> dashboard.TextBoxVariable:
    there = model.VariableOption(selected=True, text=RUNBOOKS, value=RUNBOOKS)
    box = dashboard.TextBoxVariable("runbooks").label("runbooks").default_value(RUNBOOKS).current(there)
    return box.description("Where people read the runbooks: a path of Grafana's or a URL.").options([there])


def _others() -> dashboard.DashboardLink:
    link = dashboard.DashboardLink("Understudy").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
    link.placement("")  # the SDK's default hides it in a menu
    return link.keep_time(True).include_vars(True).as_dropdown(False)


def _alerts() -> dashboard.AnnotationQuery:
    """Marks in every panel from when an alert fires."""
    marks = dashboard.AnnotationQuery().name("Alerts").datasource(SOURCE).enable(True).icon_color("red")
    marks.expr('ALERTS{alertname=~"Understudy.+",alertstate="firing"}').step("60s")
    return marks.title_format("{{alertname}}").tag_keys("severity,model,version,variable,candidate,job")
