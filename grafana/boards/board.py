"""A dashboard: variables, links to the others, annotations, rows of panels; and the text of its file."""

import json

from collections.abc import Iterable, Sequence
from typing import Final

from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import text
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from boards.panels import POSTGRES, PROMETHEUS, Drawn

TAG: Final = "multi-region-logs"
REGION: Final = "region"
# The console's search, over the time range of the dashboard.
EVENTS: Final = "${console:raw}/?from=${__from}&to=${__to}"
EVENTS_TITLE: Final = "Events in the console"
# A value that no service is called by, and that stands for all of them.
ALL: Final = "*"


def board(
    title: str, uid: str, description: str, *, time: str = "now-15m", refresh: str = "10s"
) -> dashboards.Dashboard:
    """Begin a dashboard that has what they all have."""
    return (
        dashboards.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .time(time, "now")
        .refresh(refresh)
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboards.DashboardLink("Dashboards")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .keep_time(True)  # noqa: FBT003 - the SDK's signature
            .include_vars(True)  # noqa: FBT003 - the SDK's signature
        )
        .with_variable(_console())
        .link(
            dashboards.DashboardLink(EVENTS_TITLE)
            .type(models.DashboardLinkType.LINK)
            .url(EVENTS)
            .tooltip("All events of this time range, in the console's search")
        )
        .annotation(
            _Annotation(
                "Splits",
                "link:replication_up:max == 0",
                title="nothing gets through",
                text="{{source}} → {{target}}",
                color="red",
            )
        )
        .annotation(
            _Annotation(
                "Pages",
                'ALERTS{alertstate="firing", severity="page"}',
                title="{{alertname}}",
                text="{{region}} {{source}} {{target}} {{instance}}",
                color="orange",
            )
        )
    )


def _console() -> dashboards.QueryVariable:
    """Return the variable for where people reach the console, which tells it by a metric."""
    return (
        dashboards.QueryVariable("console")
        .datasource(PROMETHEUS)
        .query("label_values(console_url_info, url)")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .hide(models.VariableHide.HIDE_VARIABLE)
    )


def regions() -> dashboards.QueryVariable:
    """Return the variable for regions, all of them at first."""
    return _labels(REGION, "Region", "label_values(gateway_region_up, region)")


def jobs() -> dashboards.QueryVariable:
    """Return the variable for services, as Prometheus calls them."""
    return _labels("service", "Service", "label_values(up, job)")


def _labels(name: str, label: str, query: str) -> dashboards.QueryVariable:
    return (
        dashboards.QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)  # noqa: FBT003 - the SDK's signature
        .include_all(True)  # noqa: FBT003 - the SDK's signature
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


def choice_from_table(name: str, label: str, statement: str, *, everything: str = ALL) -> dashboards.QueryVariable:
    """
    Return a variable with one value, out of what a statement finds; see `boards.panels.Sql` for why not several.

    At first it is `everything`, which the statement has to find, too.
    """
    return (
        dashboards.QueryVariable(name)
        .label(label)
        .datasource(POSTGRES)
        .query(statement)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .current(models.VariableOption(selected=True, text="all", value=everything))
    )


def choice(name: str, label: str, options: Sequence[tuple[str, str]]) -> dashboards.CustomVariable:
    """Return a variable with one of these values, each with the text that is shown. The first one is the default."""
    made = [
        models.VariableOption(selected=index == 0, text=text, value=value)
        for index, (value, text) in enumerate(options)
    ]
    return (
        dashboards.CustomVariable(name)
        .label(label)
        .values(", ".join(f"{text} : {value}" for value, text in options))
        .options(made)
        .current(made[0])
    )


def words(name: str, label: str) -> dashboards.TextBoxVariable:
    """Return a variable that a person types in; empty at first."""
    empty = models.VariableOption(selected=True, text="", value="")
    return dashboards.TextBoxVariable(name).label(label).default_value("").current(empty)


def add_row(to: dashboards.Dashboard, title: str, panels: Iterable[Drawn | text.Panel]) -> None:
    """Add a row and what is in it."""
    to.with_row(dashboards.Row(title))
    for panel in panels:
        to.with_panel(panel)


def render(builder: dashboards.Dashboard) -> str:
    """Return the file's text; panels are numbered, so that a link to one stays true."""
    made = builder.build()
    for number, panel in enumerate(made.panels or [], start=1):
        panel.id_val = number
    return json.dumps(made, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


class _PrometheusAnnotation(models.AnnotationQuery):
    """With the fields that Grafana's Prometheus data source reads and the SDK's class lacks."""

    title: str
    text: str

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"titleFormat": self.title, "textFormat": self.text, "step": "15s"}


class _Annotation(Builder[models.AnnotationQuery]):
    def __init__(self, name: str, expr: str, *, title: str, text: str, color: str) -> None:
        self._query = _PrometheusAnnotation(name=name, datasource=PROMETHEUS, icon_color=color, expr=expr)
        self._query.title, self._query.text = title, text

    def build(self) -> models.AnnotationQuery:
        return self._query
