"""How Grafana draws each kind of panel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as shared
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat_model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat as Format

from deploy.grafana.panel import Bounds, Kind, Panel, Query
from deploy.prometheus.alarms.alarm import PREFIX

Drawn: TypeAlias = (
    timeseries.Panel
    | stat.Panel
    | statetimeline.Panel
    | heatmap.Panel
    | bargauge.Panel
    | barchart.Panel
    | table.Panel
)
P = TypeVar(
    "P",
    timeseries.Panel,
    stat.Panel,
    statetimeline.Panel,
    heatmap.Panel,
    bargauge.Panel,
    barchart.Panel,
    table.Panel,
)

SOURCE = shared.DataSourceRef(type_val="prometheus", uid="${datasource}")
MOST_PER_ROW = 3
"""Repeated panels beside each other."""


def drawn(panel: Panel) -> Drawn:
    """The panel as Grafana wants it, with its queries."""
    return KINDS[panel.kind](panel)


def _told(builder: P, panel: Panel) -> P:
    """What all kinds have in common."""
    builder.title(panel.title).description(" ".join(panel.description.split())).datasource(SOURCE)
    builder.span(panel.width).height(panel.height).unit(panel.unit).thresholds(_steps(panel.bounds))
    builder.no_value(panel.empty).links([_runbook(name) for name in panel.runbooks])
    if panel.words:
        results = {
            str(value): model.ValueMappingResult(text=text, color=color)
            for value, (text, color) in panel.words.items()
        }
        builder.mappings([model.ValueMap(results)])
    if panel.least is not None:
        builder.min(panel.least)
    if panel.most is not None:
        builder.max(panel.most)
    if panel.repeat:
        builder.repeat(panel.repeat).repeat_direction("h").max_per_row(MOST_PER_ROW)
    return builder


def _over_time(builder: P, panel: Panel, format_: Format = Format.TIME_SERIES) -> P:
    for place, query in enumerate(panel.queries):
        builder.with_target(_target(query, place).format(format_).range())
    return _told(builder, panel)


def _now(builder: P, panel: Panel, format_: Format = Format.TIME_SERIES) -> P:
    for place, query in enumerate(panel.queries):
        builder.with_target(_target(query, place).format(format_).instant())
    return _told(builder, panel)


def _lines(panel: Panel) -> timeseries.Panel:
    drawn = _over_time(timeseries.Panel(), panel).line_width(1).show_points(shared.VisibilityMode.NEVER)
    drawn.color_scheme(_color(model.FieldColorModeId.PALETTE_CLASSIC)).legend(_legend()).tooltip(_tooltip())
    if len(panel.bounds) > 1:
        dashed = common.GraphThresholdsStyleConfig().mode(shared.GraphThresholdsStyleMode.DASHED)
        drawn.thresholds_style(dashed)
    return drawn


def _stack(panel: Panel) -> timeseries.Panel:
    normal = common.StackingConfig().mode(shared.StackingMode.NORMAL)
    return _lines(panel).stacking(normal).fill_opacity(40)


def _number(panel: Panel) -> stat.Panel:
    drawn = _now(stat.Panel(), panel).graph_mode(shared.BigValueGraphMode.NONE)
    drawn.color_scheme(_color(model.FieldColorModeId.THRESHOLDS)).reduce_options(_last())
    several = len(panel.queries) > 1 or "{{" in panel.queries[0].legend
    names = shared.BigValueTextMode.VALUE_AND_NAME if several else shared.BigValueTextMode.VALUE
    drawn.text_mode(shared.BigValueTextMode.NAME if panel.unit == "string" else names)
    return drawn.color_mode(shared.BigValueColorMode.VALUE)


def _states(panel: Panel) -> statetimeline.Panel:
    drawn = _over_time(statetimeline.Panel(), panel).show_value(shared.VisibilityMode.AUTO).row_height(0.85)
    return drawn.color_scheme(_color(model.FieldColorModeId.THRESHOLDS)).legend(_legend()).fill_opacity(70)


def _heat(panel: Panel) -> heatmap.Panel:
    drawn = _colored(_over_time(heatmap.Panel(), panel), panel)
    aligned = heatmap.RowsHeatmapOptions().layout(shared.HeatmapCellLayout.UNKNOWN)
    return drawn.rows_frame(aligned).cell_values(heatmap.CellValues().decimals(3))


def _histogram(panel: Panel) -> heatmap.Panel:
    """Grafana takes cumulative buckets apart itself where it is told that they are a histogram's."""
    drawn = _colored(_over_time(heatmap.Panel(), panel, Format.HEATMAP), panel)
    axis = heatmap.YAxisConfig().unit(panel.unit).axis_placement(shared.AxisPlacement.LEFT)
    return drawn.y_axis(axis).cell_values(heatmap.CellValues().unit("short"))


def _colored(drawn: heatmap.Panel, panel: Panel) -> heatmap.Panel:
    colors = heatmap.HeatmapColorOptions().mode(heat_model.HeatmapColorMode.SCHEME).scheme("Oranges")
    colors.scale(heat_model.HeatmapColorScale.EXPONENTIAL).exponent(0.5).steps(64)
    if panel.least is not None:
        colors.min(panel.least)
    if panel.most is not None:
        colors.max(panel.most)
    single = heatmap.HeatmapTooltip().mode(shared.TooltipDisplayMode.SINGLE).show_color_scale(True)
    return drawn.calculate(False).color(colors).cell_gap(1).show_legend().tooltip(single)


def _ranking(panel: Panel) -> bargauge.Panel:
    drawn = _now(bargauge.Panel(), panel).orientation(shared.VizOrientation.HORIZONTAL)
    drawn.display_mode(shared.BarGaugeDisplayMode.BASIC).show_unfilled(True).reduce_options(_last())
    return drawn.color_scheme(_color(model.FieldColorModeId.THRESHOLDS))


def _bars(panel: Panel) -> barchart.Panel:
    drawn = _now(barchart.Panel(), panel, Format.TABLE).transformations(_joined(panel))
    drawn.x_field(panel.by).x_tick_label_rotation(-45).group_width(0.8).bar_width(0.95).fill_opacity(70)
    drawn.show_value(shared.VisibilityMode.NEVER).orientation(shared.VizOrientation.VERTICAL)
    return drawn.color_scheme(_color(model.FieldColorModeId.PALETTE_CLASSIC)).legend(_legend())


def _table(panel: Panel) -> table.Panel:
    drawn = _now(table.Panel(), panel, Format.TABLE).transformations(_joined(panel))
    drawn.color_scheme(_color(model.FieldColorModeId.THRESHOLDS)).filterable(True)
    for query in panel.queries:
        properties = [model.DynamicConfigValue("unit", query.unit or panel.unit)]
        if query.bounds:
            cell = {"type": "color-text"}
            properties.append(model.DynamicConfigValue("thresholds", _steps(query.bounds).build()))
            properties.append(model.DynamicConfigValue("custom.cellOptions", cell))
        drawn.override_by_name(query.legend, properties)
    worst = common.TableSortByFieldState().display_name(panel.sort or panel.queries[0].legend).desc(True)
    return drawn.sort_by([worst]).decimals(3)


KINDS: Mapping[Kind, Callable[[Panel], Drawn]] = {
    Kind.LINES: _lines,
    Kind.STACK: _stack,
    Kind.NUMBER: _number,
    Kind.STATES: _states,
    Kind.HEAT: _heat,
    Kind.HISTOGRAM: _histogram,
    Kind.RANKING: _ranking,
    Kind.BARS: _bars,
    Kind.TABLE: _table,
}


def _joined(panel: Panel) -> list[model.DataTransformerConfig]:
    """One row for each value of the label, one column for each query, named after its legend."""
    if len(panel.queries) == 1:
        names = {"Value": panel.queries[0].legend}
    else:
        names = {f"Value #{_ref(place)}": query.legend for place, query in enumerate(panel.queries)}
    order = {name: place for place, name in enumerate((panel.by, *names))}
    shown = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": names}
    return [
        model.DataTransformerConfig("merge", options={}),
        model.DataTransformerConfig("organize", options=shown),
        model.DataTransformerConfig("sortBy", options={"sort": [{"field": panel.by}]}),
    ]


def _target(query: Query, place: int) -> prometheus.Dataquery:
    asked = prometheus.Dataquery().expr(query.expr).legend_format(query.legend)
    return asked.ref_id(_ref(place)).datasource(SOURCE)


def _ref(place: int) -> str:
    """What Grafana calls the first, the second, ... query of a panel."""
    return chr(ord("A") + place)


def _steps(bounds: Bounds) -> dashboard.ThresholdsConfig:
    steps = [model.Threshold(value, color) for value, color in bounds]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def _runbook(name: str) -> dashboard.DashboardLink:
    link = dashboard.DashboardLink(f"Runbook: {PREFIX}{name}").type(model.DashboardLinkType.LINK)
    return link.url(f"${{runbooks}}/{PREFIX}{name}.md").target_blank(True)


def _color(mode: model.FieldColorModeId) -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(mode)


def _legend() -> common.VizLegendOptions:
    shown = common.VizLegendOptions().show_legend(True).placement(shared.LegendPlacement.BOTTOM)
    return shown.display_mode(shared.LegendDisplayMode.LIST)


def _tooltip() -> common.VizTooltipOptions:
    return common.VizTooltipOptions().mode(shared.TooltipDisplayMode.MULTI).sort(shared.SortOrder.DESCENDING)


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
