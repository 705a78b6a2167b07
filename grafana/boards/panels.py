"""
What panels are made of: queries, and the ways to draw what they answer.

A panel's title, description, unit and limits are said once, whatever draws it. Limits are the lowest value of each colour;
below the first one it is green.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeVar

from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.heatmap import HeatmapColorOptions, YAxisConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery as DataQuery
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS: Final = models.DataSourceRef(type_val="prometheus", uid="fleet-prometheus")
POSTGRES: Final = models.DataSourceRef(type_val="grafana-postgresql-datasource", uid="fleet-postgres")
GRID_WIDTH: Final = 24
REGION: Final = 'region=~"$region"'
RATE: Final = "[$__rate_interval]"
# What exporters tell is scraped every 15 s; with this step, $__rate_interval spans enough of it.
EXPORTER_STEP: Final = "15s"

Color = Literal["green", "yellow", "red", "blue"]
Drawn = stat.Panel | timeseries.Panel | table.Panel | heatmap.Panel | statetimeline.Panel
# The SDK's builders have these methods in common and no base class.
AnyPanel = TypeVar("AnyPanel", stat.Panel, timeseries.Panel, table.Panel, heatmap.Panel, statetimeline.Panel)
UP_OR_DOWN: Final[Mapping[str, tuple[str, Color]]] = {"0": ("down", "red"), "1": ("up", "green")}


class Query(Protocol):
    """One question of a panel to one data source."""

    @property
    def source(self) -> models.DataSourceRef:
        """The data source that it is put to."""
        ...

    def target(self, ref: str) -> Builder[DataQuery]:
        """Return it as Grafana wants it, called `ref` in its panel."""
        ...


@dataclass(frozen=True, slots=True)
class Prom:
    """
    A PromQL expression.

    Attributes:
        expr: May use the dashboard's variables.
        legend: Name of its series, `{{label}}` for a label.
        step: Least distance of two points.
        instant: Ask for this moment alone, for a table.
        buckets: The answer is a histogram's, for a heat map.
    """

    expr: str
    legend: str = ""
    step: str = ""
    instant: bool = False
    buckets: bool = False

    @property
    def source(self) -> models.DataSourceRef:
        """See `Query`."""
        return PROMETHEUS

    def target(self, ref: str) -> Builder[DataQuery]:
        """See `Query`."""
        query = prometheus.Dataquery().expr(self.expr).legend_format(self.legend).ref_id(ref)
        if self.step:
            query.interval(self.step)
        if self.instant:
            query.instant().format(PromQueryFormat.TABLE)
        if self.buckets:
            query.format(PromQueryFormat.HEATMAP)
        return query


@dataclass(frozen=True, slots=True)
class Sql:
    """
    A statement for PostgreSQL.

    Variables in it are between quotes, and are no lists. Then the data source doubles each quote in a value, so that a value
    from a client's event cannot end the string.

    Attributes:
        text: May use variables and Grafana's macros.
        over_time: The answer is series over time, not a table.
    """

    text: str
    over_time: bool = False

    @property
    def source(self) -> models.DataSourceRef:
        """See `Query`."""
        return POSTGRES

    def target(self, ref: str) -> Builder[DataQuery]:
        """See `Query`."""
        return _SqlTarget(self.text, ref, "time_series" if self.over_time else "table")


class _SqlQuery(DataQuery):
    """The SDK has no class for PostgreSQL's queries."""

    def __init__(self, text: str, ref: str, kind: str) -> None:
        self._json = {"refId": ref, "rawSql": text, "rawQuery": True, "editorMode": "code", "format": kind}

    def to_json(self) -> dict[str, object]:
        return {"datasource": POSTGRES, **self._json}


class _SqlTarget(Builder[DataQuery]):
    def __init__(self, text: str, ref: str, kind: str) -> None:
        self._query = _SqlQuery(text, ref, kind)

    def build(self) -> DataQuery:
        return self._query


@dataclass(frozen=True, slots=True)
class Column:
    """
    How one column of a table is shown.

    Attributes:
        name: As the query calls it.
        link: Where a click on a value leads; `${__value.text}` and the like may stand in it.
        link_title: What the link is called.
        also: Further links, by what they are called.
        unit: Instead of the panel's.
        width: In pixels.
        texts: What is shown instead of values.
    """

    name: str
    link: str = ""
    link_title: str = ""
    also: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    width: int = 0
    texts: Mapping[str, str] = field(default_factory=dict)

    def properties(self) -> list[models.DynamicConfigValue]:
        """Return it as Grafana's overrides."""
        made: list[models.DynamicConfigValue] = []
        if self.link:
            links = [{"title": title, "url": url} for title, url in {self.link_title: self.link, **self.also}.items()]
            made.append(models.DynamicConfigValue(id_val="links", value=links))
        if self.unit:
            made.append(models.DynamicConfigValue(id_val="unit", value=self.unit))
        if self.width:
            made.append(models.DynamicConfigValue(id_val="custom.width", value=self.width))
        if self.texts:
            options = {value: {"text": text} for value, text in self.texts.items()}
            made.append(models.DynamicConfigValue(id_val="mappings", value=[{"type": "value", "options": options}]))
        return made


@dataclass(frozen=True, slots=True)
class Panel:
    """
    What every panel has, however it is drawn.

    Attributes:
        title: What is shown.
        description: What it means, and what a bad value says.
        unit: Grafana's id of the unit.
        queries: All of one data source.
        limits: Lowest value of each colour.
        links: Other dashboards that tell more, by their uid.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    limits: Sequence[tuple[float, Color]] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    def number(self, *, width: int = 4, states: Mapping[str, tuple[str, Color]] | None = None) -> stat.Panel:
        """Draw the latest value of each series in large type; `states` are words and colours for values."""
        built = (
            self._begun(stat.Panel())
            .min(0)
            .no_value("no data")
            .thresholds(self._thresholds())
            .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
            .color_mode(BigValueColorMode.BACKGROUND if self.limits or states else BigValueColorMode.VALUE)
            .graph_mode(BigValueGraphMode.NONE if states else BigValueGraphMode.AREA)
            .height(4)
            .span(width)
        )
        if states:
            built.mappings([_words(states)])
        return built

    def graph(self, *, width: int = GRID_WIDTH // 3) -> timeseries.Panel:
        """Draw each series over time, and the limits as lines."""
        built = (
            self._begun(timeseries.Panel())
            .min(0)
            .thresholds(self._thresholds())
            .fill_opacity(8)
            .show_points(VisibilityMode.NEVER)
            .legend(
                VizLegendOptions()
                .display_mode(LegendDisplayMode.TABLE)
                .placement(LegendPlacement.BOTTOM)
                .show_legend(True)  # noqa: FBT003 - the SDK's signature
                .calcs(["lastNotNull", "max"])
            )
            .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
            .height(8)
            .span(width)
        )
        if self.limits:
            built.thresholds_style(GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED))
        return built

    def areas(self, *, width: int = GRID_WIDTH // 3) -> timeseries.Panel:
        """Draw series that are parts of a whole on top of each other."""
        return self.graph(width=width).fill_opacity(30).stacking(StackingConfig().mode(StackingMode.NORMAL))

    def heat(self, *, width: int = GRID_WIDTH // 3) -> heatmap.Panel:
        """Draw a histogram over time: the more often, the darker."""
        return (
            self._begun(heatmap.Panel())
            .calculate(False)  # noqa: FBT003 - the SDK's signature
            .y_axis(YAxisConfig().unit(self.unit))
            .color(HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
            .height(8)
            .span(width)
        )

    def states(self, words: Mapping[str, tuple[str, Color]], *, width: int = GRID_WIDTH // 2) -> statetimeline.Panel:
        """Draw which state each series was in, and when."""
        return (
            self._begun(statetimeline.Panel())
            .mappings([_words(words)])
            .thresholds(self._thresholds())
            .show_value(VisibilityMode.NEVER)
            .merge_values(True)  # noqa: FBT003 - the SDK's signature
            .fill_opacity(80)
            .height(8)
            .span(width)
        )

    def rows(
        self,
        columns: Sequence[Column] = (),
        *,
        hide: Sequence[str] = (),
        order: Sequence[str] = (),
        width: int = GRID_WIDTH,
        height: int = 8,
    ) -> table.Panel:
        """Draw a table, without the columns in `hide`, those in `order` first."""
        built = self._begun(table.Panel()).thresholds(self._thresholds()).height(height).span(width)
        for column in columns:
            built.override_by_name(column.name, column.properties())
        if hide or order:
            options = {
                "excludeByName": dict.fromkeys(hide, True),
                "indexByName": {name: index for index, name in enumerate(order)},
            }
            built.with_transformation(models.DataTransformerConfig(id_val="organize", options=options))
        return built

    def _begun(self, panel: AnyPanel) -> AnyPanel:
        panel.title(self.title).description(self.description).unit(self.unit)
        panel.datasource(self.queries[0].source)
        panel.targets([query.target(chr(ord("A") + index)) for index, query in enumerate(self.queries)])
        if self.links:
            panel.links(
                [
                    dashboards.DashboardLink(title)
                    .type(models.DashboardLinkType.LINK)
                    .url(f"/d/{uid}?${{__url_time_range}}&${{__all_variables}}")
                    for uid, title in self.links.items()
                ]
            )
        return panel

    def _thresholds(self) -> dashboards.ThresholdsConfig:
        steps = [models.Threshold(value=None, color="green")]
        steps += [models.Threshold(value=value, color=color) for value, color in self.limits]
        return dashboards.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _words(states: Mapping[str, tuple[str, Color]]) -> models.ValueMap:
    return models.ValueMap(
        options={value: models.ValueMappingResult(text=text, color=color) for value, (text, color) in states.items()}
    )


def quantile(share: float, histogram: str, labels: str = "", by: str = "") -> str:
    """Return the expression for a quantile of a histogram, one series for each value of the label `by`."""
    groups = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({groups}) (rate({histogram}_bucket{{{labels}}}{RATE})))"


def median_and_p99(histogram: str, labels: str = "", by: str = "") -> list[Prom]:
    """Return the queries for what half and 99 of 100 values are at most, for each value of the label `by`."""
    named = f"{{{{{by}}}}} " if by else ""
    return [Prom(quantile(q, histogram, labels, by), f"{named}{name}") for q, name in ((0.5, "p50"), (0.99, "p99"))]


def buckets(histogram: str, labels: str = "") -> Prom:
    """Return the query for a histogram over time, for a heat map."""
    return Prom(f"sum by (le) (increase({histogram}_bucket{{{labels}}}{RATE}))", "{{le}}", buckets=True)
