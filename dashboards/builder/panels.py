"""The kinds of panel that the dashboards are made of, each with the same manners.

Every panel has a title, a description, a unit and a text for no data; it asks the data source that the reader
chose; and it shows a state in the same colours everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import (
    bargauge,
    common,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import dashboard as models

from monitor.domain.times import SECOND

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from monitor.domain.objectives import AgeRule

NO_DATA = "no data"
GREEN, YELLOW, RED, NEUTRAL = "green", "yellow", "red", "text"
SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

Steps = tuple[tuple[float | None, str], ...]
"""Colours by lower bound; the first has none."""
PLAIN: Steps = ((None, NEUTRAL),)


def limits(warning: float, critical: float) -> Steps:
    """Colour green below the warning, and red from the critical value on."""
    return ((None, GREEN), (warning, YELLOW), (critical, RED))


def stale(rule: AgeRule) -> Steps:
    """Colour an age in seconds: yellow at a quarter of the age at which its alert fires, red from there on."""
    critical = rule.older_than / SECOND
    return limits(critical / 4, critical)


ANY_IS_BAD: Steps = ((None, GREEN), (1, RED))
ALERT_STATES = {0: ("inactive", GREEN), 1: ("pending", YELLOW), 2: ("firing", RED)}


def query(
    expr: str,
    legend: str = "",
    *,
    instant: bool = False,
    exemplars: bool = False,
    shape: prometheus.PromQueryFormat = prometheus.PromQueryFormat.TIME_SERIES,
) -> prometheus.Dataquery:
    """Ask Prometheus over the range of time shown, or for its end alone."""
    return prometheus.Dataquery(
        expr=expr,
        legend_format=legend or "__auto",
        instant=instant,
        range_val=not instant,
        exemplar=exemplars,
        format_val=shape,
        editor_mode=prometheus.QueryEditorMode.CODE,
        datasource=SOURCE,
    )


def now(expr: str, legend: str = "") -> prometheus.Dataquery:
    """Ask for the value at the end of the range, so that a source that went silent shows as no data."""
    return query(expr, legend, instant=True)


def column(expr: str) -> prometheus.Dataquery:
    """Ask for the values of one column of a table."""
    return query(expr, instant=True, shape=prometheus.PromQueryFormat.TABLE)


def link(title: str, url: str) -> models.DashboardLink:
    """Lead from a panel to what lies below it."""
    return models.DashboardLink(title=title, type_val=models.DashboardLinkType.LINK, url=url, target_blank=True)


def fixed(matcher: str, name: str, color: str) -> models.DashboardFieldConfigSourceOverrides:
    """Draw one series in one colour; the matcher is a Grafana field matcher, such as `byFrameRefID` or `byName`."""
    return override(matcher, name, color={"mode": "fixed", "fixedColor": color})


def override(matcher: str, name: str, **properties: object) -> models.DashboardFieldConfigSourceOverrides:
    """Set properties of the fields that a matcher finds; `custom_x` stands for the property `custom.x`."""
    return models.DashboardFieldConfigSourceOverrides(
        matcher=models.MatcherConfig(id_val=matcher, options=name),
        properties=[
            models.DynamicConfigValue(id_val=key.replace("custom_", "custom."), value=value)
            for key, value in properties.items()
        ],
    )


def data_link(name: str, title: str, url: str) -> models.DashboardFieldConfigSourceOverrides:
    """Lead from each value of a column to what lies below it."""
    return override("byName", name, links=[{"title": title, "url": url, "targetBlank": True}])


def _panel(
    kind: str,
    title: str,
    description: str,
    unit: str,
    queries: Sequence[prometheus.Dataquery],
    size: tuple[int, int],
    *,
    options: object,
    custom: object = None,
    color: models.FieldColorModeId = models.FieldColorModeId.THRESHOLDS,
    steps: Steps = PLAIN,
    states: Mapping[int, tuple[str, str]] | None = None,
    span: tuple[float | None, float | None] = (None, None),
    decimals: float | None = None,
    overrides: Sequence[models.DashboardFieldConfigSourceOverrides] = (),
    links: Sequence[models.DashboardLink] = (),
    transformations: Sequence[models.DataTransformerConfig] = (),
    interval: str | None = None,
) -> models.Panel:
    for ref, target in zip("ABCDEFGHIJ", queries, strict=False):
        target.ref_id = ref
    mappings: list[models.ValueMapping] = [
        models.SpecialValueMap(
            options=models.DashboardSpecialValueMapOptions(
                match=models.SpecialValueMatch.NULL_AND_NAN,
                result=models.ValueMappingResult(text=NO_DATA, color=NEUTRAL, index=0),
            )
        )
    ]
    if states:
        mappings.append(
            models.ValueMap(
                options={
                    str(value): models.ValueMappingResult(text=text, color=tint, index=index)
                    for index, (value, (text, tint)) in enumerate(states.items(), start=1)
                }
            )
        )
    return models.Panel(
        type_val=kind,
        title=title,
        description=description,
        datasource=SOURCE,
        targets=list(queries),
        grid_pos=models.GridPos(w=size[0], h=size[1]),
        links=list(links),
        transformations=list(transformations),
        interval=interval,
        options=options,
        field_config=models.FieldConfigSource(
            defaults=models.FieldConfig(
                unit=unit,
                decimals=decimals,
                min_val=span[0],
                max_val=span[1],
                no_value=NO_DATA,
                mappings=mappings,
                color=models.FieldColor(mode=color),
                thresholds=models.ThresholdsConfig(
                    mode=models.ThresholdsMode.ABSOLUTE,
                    steps=[models.Threshold(value=bound, color=tint) for bound, tint in steps],
                ),
                custom=custom,
            ),
            overrides=list(overrides),
        ),
    )


def number(
    title: str,
    description: str,
    unit: str,
    queries: Sequence[prometheus.Dataquery],
    *,
    size: tuple[int, int] = (4, 4),
    steps: Steps = PLAIN,
    named: bool = False,
    decimals: float | None = None,
    overrides: Sequence[models.DashboardFieldConfigSourceOverrides] = (),
    links: Sequence[models.DashboardLink] = (),
) -> models.Panel:
    """Show one big number for each series, coloured by its state; `named` shows the legend of a single one too."""
    uncoloured = steps == PLAIN and not overrides
    options = stat.Options(
        graph_mode=common.BigValueGraphMode.NONE,
        color_mode=common.BigValueColorMode.NONE if uncoloured else common.BigValueColorMode.BACKGROUND_SOLID,
        text_mode=common.BigValueTextMode.VALUE_AND_NAME if named else common.BigValueTextMode.AUTO,
        reduce_options=_LAST,
    )
    return _panel(
        "stat",
        title,
        description,
        unit,
        queries,
        size,
        options=options,
        steps=steps,
        decimals=decimals,
        overrides=overrides,
        links=links,
    )


def bars(
    title: str,
    description: str,
    unit: str,
    queries: Sequence[prometheus.Dataquery],
    *,
    size: tuple[int, int] = (8, 6),
    steps: Steps,
    full: float,
    links: Sequence[models.DashboardLink] = (),
) -> models.Panel:
    """Show one horizontal bar for each series, from 0 to `full`."""
    options = bargauge.Options(
        display_mode=common.BarGaugeDisplayMode.BASIC,
        orientation=common.VizOrientation.HORIZONTAL,
        reduce_options=_LAST,
    )
    return _panel(
        "bargauge", title, description, unit, queries, size, options=options, steps=steps, span=(0, full), links=links
    )


def lines(
    title: str,
    description: str,
    unit: str,
    queries: Sequence[prometheus.Dataquery],
    *,
    size: tuple[int, int] = (8, 8),
    stacked: bool = False,
    least: float | None = 0,
    most: float | None = None,
    overrides: Sequence[models.DashboardFieldConfigSourceOverrides] = (),
    links: Sequence[models.DashboardLink] = (),
    interval: str | None = None,
) -> models.Panel:
    """Show series over time: as lines, or as stacked bars for counts that add up."""
    custom = timeseries.FieldConfig(
        draw_style=common.GraphDrawStyle.BARS if stacked else common.GraphDrawStyle.LINE,
        fill_opacity=70 if stacked else 0,
        line_width=1,
        show_points=common.VisibilityMode.AUTO,
        span_nulls=False,
        stacking=common.StackingConfig(mode=common.StackingMode.NORMAL if stacked else common.StackingMode.NONE),
    )
    options = timeseries.Options(
        legend=_LEGEND,
        tooltip=common.VizTooltipOptions(mode=common.TooltipDisplayMode.MULTI, sort=common.SortOrder.DESCENDING),
    )
    return _panel(
        "timeseries",
        title,
        description,
        unit,
        queries,
        size,
        options=options,
        custom=custom,
        color=models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME,
        span=(least, most),
        overrides=overrides,
        links=links,
        interval=interval,
    )


def heat(
    title: str,
    description: str,
    expr: str,
    *,
    size: tuple[int, int] = (8, 8),
    links: Sequence[models.DashboardLink] = (),
) -> models.Panel:
    """Show the buckets of a histogram in seconds over time, with their exemplars."""
    options = heatmap.Options(
        y_axis=heatmap.YAxisConfig(unit="s", axis_placement=common.AxisPlacement.LEFT),
        cell_values=heatmap.CellValues(unit="short"),
        rows_frame=heatmap.RowsHeatmapOptions(layout=common.HeatmapCellLayout.AUTO),
        tooltip=heatmap.HeatmapTooltip(mode=common.TooltipDisplayMode.SINGLE, y_histogram=True, show_color_scale=True),
    )
    question = query(expr, "{{le}}", exemplars=True, shape=prometheus.PromQueryFormat.HEATMAP)
    return _panel(
        "heatmap",
        title,
        description,
        "s",
        [question],
        size,
        options=options,
        custom=heatmap.FieldConfig(),
        links=links,
    )


def timeline(
    title: str,
    description: str,
    queries: Sequence[prometheus.Dataquery],
    *,
    states: Mapping[int, tuple[str, str]],
    size: tuple[int, int] = (12, 9),
) -> models.Panel:
    """Show spells of states over time, a row for each series."""
    options = statetimeline.Options(
        show_value=common.VisibilityMode.NEVER,
        legend=common.VizLegendOptions(show_legend=True),
    )
    return _panel(
        "state-timeline",
        title,
        description,
        "none",
        queries,
        size,
        options=options,
        custom=statetimeline.FieldConfig(fill_opacity=80),
        states=states,
    )


def rows(
    title: str,
    description: str,
    unit: str,
    columns: Mapping[str, prometheus.Dataquery],
    *,
    size: tuple[int, int] = (12, 9),
    order: str,
    states: Mapping[int, tuple[str, str]] | None = None,
    decimals: float | None = None,
    overrides: Sequence[models.DashboardFieldConfigSourceOverrides] = (),
) -> models.Panel:
    """Show a table: a row for each combination of labels, the named columns of values, largest `order` first."""
    single = len(columns) == 1
    names = {"Value" if single else f"Value #{ref}": name for ref, name in zip("ABCDEFGHIJ", columns, strict=False)}
    colored = [override("byName", order, custom_cellOptions={"type": "color-text"})] if states else []
    return _panel(
        "table",
        title,
        description,
        unit,
        list(columns.values()),
        size,
        options=table.Options(sort_by=[common.TableSortByFieldState(display_name=order, desc=True)]),
        custom=common.TableFieldOptions(filterable=True),
        states=states,
        decimals=decimals,
        overrides=[*colored, *overrides],
        transformations=[
            models.DataTransformerConfig(id_val="merge", options={}),
            models.DataTransformerConfig(
                id_val="organize", options={"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": names}
            ),
        ],
    )


_LAST = common.ReduceDataOptions(calcs=["lastNotNull"], fields="", values=False)
_LEGEND = common.VizLegendOptions(
    show_legend=True, display_mode=common.LegendDisplayMode.LIST, placement=common.LegendPlacement.BOTTOM
)
