# ruff: noqa: INP001 - a script beside what it makes; grafana/ is no package
"""
Make `grafana/dashboards/*.json`: `python grafana/generate.py`, or `--check` to only compare.

Dashboards are code, so that a panel's unit, description and limits are reviewed together with its query. Queries may use
only what `shared/metrics.py` exports; `integration-tests/test_contracts.py` sees to that and to files that are up to date.
"""

import argparse
import json
import sys

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
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

FOLDER: Final = Path(__file__).parent / "dashboards"
PROMETHEUS: Final = models.DataSourceRef(type_val="prometheus", uid="fleet-prometheus")
GRID_WIDTH: Final = 24
REGION: Final = 'region=~"$region"'
RATE: Final = "[$__rate_interval]"

Color = Literal["green", "yellow", "red"]


@dataclass(frozen=True, slots=True)
class Query:
    """
    One PromQL expression of a panel.

    Attributes:
        expr: May use the dashboard's variables.
        legend: Name of its series, `{{label}}` for a label.
    """

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """
    What every panel has, however it is drawn.

    Attributes:
        title: What is shown.
        description: What it means, and what a bad value says.
        unit: Grafana's id of the unit.
        queries: Its expressions.
        limits: Lowest value of each colour; below the first one it is green.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    limits: Sequence[tuple[float, Color]] = ()

    def number(self) -> stat.Panel:
        """Draw the latest value of each series in large type."""
        return (
            stat.Panel()
            .title(self.title)
            .description(self.description)
            .datasource(PROMETHEUS)
            .targets(self._targets())
            .unit(self.unit)
            .min(0)
            .no_value("no data")
            .thresholds(self._thresholds())
            .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
            .color_mode(BigValueColorMode.BACKGROUND if self.limits else BigValueColorMode.VALUE)
            .graph_mode(BigValueGraphMode.AREA)
            .height(4)
            .span(4)
        )

    def graph(self) -> timeseries.Panel:
        """Draw each series over time, and the limits as lines."""
        built = (
            timeseries.Panel()
            .title(self.title)
            .description(self.description)
            .datasource(PROMETHEUS)
            .targets(self._targets())
            .unit(self.unit)
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
            .span(GRID_WIDTH // 3)
        )
        if self.limits:
            built.thresholds_style(GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED))
        return built

    def areas(self) -> timeseries.Panel:
        """Draw series that are parts of a whole on top of each other."""
        return self.graph().fill_opacity(30).stacking(StackingConfig().mode(StackingMode.NORMAL))

    def _targets(self) -> list[Builder[DataQuery]]:
        return [
            prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + index))
            for index, query in enumerate(self.queries)
        ]

    def _thresholds(self) -> dashboards.ThresholdsConfig:
        steps = [models.Threshold(value=None, color="green")]
        steps += [models.Threshold(value=value, color=color) for value, color in self.limits]
        return dashboards.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def quantile(share: float, histogram: str, labels: str = "", by: str = "") -> str:
    """Return the expression for a quantile of a histogram, one series for each value of the label `by`."""
    groups = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({groups}) (rate({histogram}_bucket{{{labels}}}{RATE})))"


def fleet() -> dashboards.Dashboard:
    """Build the dashboard that tells at a glance whether events come in, keep their order and get out."""
    board = (
        dashboards.Dashboard("Fleet")
        .uid("fleet")
        .description("Do events come in, do they reach PostgreSQL once and in order, and how long does it take?")
        .tags(["multi-region-logs"])
        .readonly()
        .time("now-15m", "now")
        .refresh("5s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(
            dashboards.QueryVariable("region")
            .label("Region")
            .datasource(PROMETHEUS)
            .query("label_values(gateway_region_up, region)")
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
            .multi(True)  # noqa: FBT003 - the SDK's signature
            .include_all(True)  # noqa: FBT003 - the SDK's signature
            .all_value(".*")
            .current(models.VariableOption(selected=True, text="All", value="$__all"))
        )
    )
    _add_row(board, "At a glance", _at_a_glance())
    _add_row(board, "In: gateway and producers", _ingest())
    _add_row(board, "Across: replication", _replication())
    _add_row(board, "Between: order and duplicates", _order())
    _add_row(board, "Out: PostgreSQL", _stored())
    return board


def _add_row(board: dashboards.Dashboard, title: str, panels: Iterable[stat.Panel | timeseries.Panel]) -> None:
    board.with_row(dashboards.Row(title))
    for panel in panels:
        board.with_panel(panel)


def _at_a_glance() -> list[stat.Panel | timeseries.Panel]:
    states = {
        "0": models.ValueMappingResult(text="circuit open", color="red"),
        "1": models.ValueMappingResult(text="up", color="green"),
    }
    regions = Panel(
        title="Regions",
        description="Whether the gateway sends to the region. While its circuit is open, another region serves for it.",
        unit="none",
        queries=[Query(f"gateway_region_up{{{REGION}}}", "{{region}}")],
        limits=[(0, "red"), (1, "green")],
    )
    return [
        regions.number().mappings([models.ValueMap(options=states)]).graph_mode(BigValueGraphMode.NONE),
        Panel(
            title="Acknowledged",
            description="Events a second that Kafka acknowledged with acks=all: what clients were promised.",
            unit="cps",
            queries=[Query(f'sum(rate(log_producer_send_total{{{REGION}, outcome="acknowledged"}}{RATE}))', "events")],
        ).number(),
        Panel(
            title="Stored",
            description="Rows a second written to PostgreSQL. Below the rate of acknowledged events for long: a backlog grows.",
            unit="cps",
            queries=[Query(f"sum(rate(consumer_events_stored_total{{{REGION}}}{RATE}))", "rows")],
        ).number(),
        Panel(
            title="Acknowledgement, p99",
            description="99 of 100 groups of events were acknowledged by Kafka within this time.",
            unit="s",
            queries=[Query(quantile(0.99, "log_producer_send_duration_seconds", REGION), "p99")],
            limits=[(0.1, "yellow"), (1, "red")],
        ).number(),
        Panel(
            title="Not yet stored",
            description="Records in Kafka that are not durable in PostgreSQL, copies from other regions included.",
            unit="short",
            queries=[Query(f"sum(consumer_lag_records{{{REGION}}})", "records")],
            limits=[(10_000, "yellow"), (100_000, "red")],
        ).number(),
        Panel(
            title="Targets down",
            description="Processes whose metrics Prometheus cannot read: dead, hanging or cut off.",
            unit="none",
            queries=[Query("count(up == 0) or vector(0)", "targets")],
            limits=[(1, "red")],
        ).number(),
    ]


def _ingest() -> list[stat.Panel | timeseries.Panel]:
    return [
        Panel(
            title="Events handed to Kafka",
            description="By what became of them. Anything but `acknowledged` was answered with 503 or went to another region.",
            unit="cps",
            queries=[
                Query(
                    f"sum by (region, outcome) (rate(log_producer_send_total{{{REGION}}}{RATE}))",
                    "{{region}} {{outcome}}",
                )
            ],
        ).areas(),
        Panel(
            title="Time to acknowledgement",
            description="From taking a group of events to Kafka's acknowledgement of all of it, in the producer.",
            unit="s",
            queries=[
                Query(quantile(0.5, "log_producer_send_duration_seconds", REGION, "region"), "{{region}} p50"),
                Query(quantile(0.99, "log_producer_send_duration_seconds", REGION, "region"), "{{region}} p99"),
            ],
            limits=[(1, "red")],
        ).graph(),
        Panel(
            title="Failovers",
            description="Events that another region acknowledged than the one they were meant for. Zero in quiet times.",
            unit="cps",
            queries=[
                Query(
                    f'sum by (from_region, to_region) (rate(gateway_routing_fallbacks_total{{from_region=~"$region"}}{RATE}))',
                    "{{from_region}} → {{to_region}}",
                )
            ],
        ).graph(),
        Panel(
            title="Answers of the gateway",
            description="By HTTP status. 4xx is the client's fault; 503 means that no region acknowledged or a queue was full.",
            unit="reqps",
            queries=[Query(f"sum by (status) (rate(gateway_requests_total{RATE}))", "{{status}}")],
        ).areas(),
        Panel(
            title="Time to answer",
            description="From a request to the gateway to its answer, micro-batching, retries and failover included.",
            unit="s",
            queries=[
                Query(quantile(0.5, "gateway_request_duration_seconds"), "p50"),
                Query(quantile(0.99, "gateway_request_duration_seconds"), "p99"),
            ],
            limits=[(1, "red")],
        ).graph(),
        Panel(
            title="Waiting in the gateway",
            description="Events that wait for or are in a request to a region. At the limit clients get 503 with Retry-After.",
            unit="short",
            queries=[Query(f"gateway_queue_events{{{REGION}}}", "{{region}}")],
        ).graph(),
    ]


def _replication() -> list[stat.Panel | timeseries.Panel]:
    states = {
        "0": models.ValueMappingResult(text="down", color="red"),
        "1": models.ValueMappingResult(text="up", color="green"),
    }
    # Every gateway watches by itself; the one that knows most is right.
    by_link = "by (source, target)"
    link = 'source=~"$region"'
    legend = "{{source}} → {{target}}"
    links = Panel(
        title="Links",
        description="Whether events are copied, or there is nothing left to copy. Down: the link is cut, or a region or its mirror is away.",
        unit="none",
        queries=[Query(f"max {by_link} (replication_up{{{link}}})", legend)],
        limits=[(0, "red"), (1, "green")],
    )
    return [
        links.number().mappings([models.ValueMap(options=states)]).graph_mode(BigValueGraphMode.NONE).height(8).span(8),
        Panel(
            title="Replication lag",
            description="Time since everything in the source was known to be in the target; true also while nothing flows or gets through.",
            unit="s",
            queries=[Query(f"min {by_link} (replication_lag_seconds{{{link}}})", legend)],
            limits=[(60, "red")],
        ).graph(),
        Panel(
            title="Exposed events",
            description="Acknowledged in the source and not in the target: what the target would miss if the source were lost now.",
            unit="short",
            queries=[Query(f"min {by_link} (replication_lag_records{{{link}}})", legend)],
        ).graph(),
        Panel(
            title="Copied",
            description="Events a second that MirrorMaker copied and the target acknowledged.",
            unit="cps",
            queries=[
                Query(
                    f'sum {by_link} (rate(mirrormaker_copied_records_total{{{link}, topic=~".+[.]logs"}}{RATE}))',
                    legend,
                )
            ],
        ).graph(),
        Panel(
            title="Lost or repeated in the last hour",
            description="Events that retention removed before they were copied, and partitions that are copied anew. None is normal.",
            unit="short",
            queries=[
                Query(f"max {by_link} (increase(replication_gap_records_total{{{link}}}[1h]))", f"{legend} lost"),
                Query(f"max {by_link} (increase(replication_resets_total{{{link}}}[1h]))", f"{legend} begun anew"),
            ],
            limits=[(1, "red")],
        ).graph(),
        Panel(
            title="Restarts of MirrorMaker in the last hour",
            description="Of any cause. Its log says why it was ended; again and again, a record is refused by the target.",
            unit="short",
            queries=[Query('changes(process_start_time_seconds{job="mirrormaker"}[1h])', "{{instance}}")],
        ).graph(),
    ]


def _order() -> list[stat.Panel | timeseries.Panel]:
    return [
        Panel(
            title="Reorder buffer",
            description="Events held back until their order is certain, and the limit at which partitions are paused.",
            unit="short",
            queries=[
                Query(f"reorder_buffer_size{{{REGION}}}", "{{region}}"),
                Query(f"reorder_buffer_limit{{{REGION}}}", "{{region}} limit"),
            ],
        ).graph(),
        Panel(
            title="Late arrivals",
            description="Events stored out of order, by reason: delayed at the client, replication backlog, held up here, or from the future.",
            unit="cps",
            queries=[
                Query(
                    f"sum by (region, reason) (rate(reorder_late_arrivals_total{{{REGION}}}{RATE}))",
                    "{{region}} {{reason}}",
                )
            ],
        ).areas(),
        Panel(
            title="Duplicates recognised",
            description="By the layer that knew them. Redis saves work, PostgreSQL decides: with Redis gone all of them are PostgreSQL's.",
            unit="cps",
            queries=[
                Query(f"sum by (region, layer) (rate(dedup_hits_total{{{REGION}}}{RATE}))", "{{region}} {{layer}}")
            ],
        ).areas(),
    ]


def _stored() -> list[stat.Panel | timeseries.Panel]:
    return [
        Panel(
            title="Rows stored",
            description="By the region that stored them and the region that accepted the event.",
            unit="cps",
            queries=[
                Query(
                    f"sum by (region, origin) (rate(consumer_events_stored_total{{{REGION}}}{RATE}))",
                    "{{region}} from {{origin}}",
                )
            ],
        ).areas(),
        Panel(
            title="Receipt to COMMIT",
            description="From the gateway's receipt of an event to its COMMIT. The reorder window is the part of it that is intended.",
            unit="s",
            queries=[
                Query(quantile(0.5, "consumer_end_to_end_seconds", REGION, "region"), "{{region}} p50"),
                Query(quantile(0.99, "consumer_end_to_end_seconds", REGION, "region"), "{{region}} p99"),
            ],
            limits=[(5, "red")],
        ).graph(),
        Panel(
            title="Records not yet stored",
            description="By topic: a region's own, and the copies of the others' that MirrorMaker brought.",
            unit="short",
            queries=[
                Query(f"sum by (region, topic) (consumer_lag_records{{{REGION}}})", "{{region}} {{topic}}"),
            ],
            limits=[(100_000, "red")],
        ).graph(),
        Panel(
            title="Dead letters in the last hour",
            description="Records set aside in the topic logs-dlq, by reason. None is normal.",
            unit="short",
            queries=[
                Query(
                    f"sum by (region, reason) (increase(consumer_dead_letters_total{{{REGION}}}[1h]))",
                    "{{region}} {{reason}}",
                )
            ],
            limits=[(1, "red")],
        ).graph(),
        Panel(
            title="Time a batch takes",
            description="99 of 100 batches took no longer, by stage: asking Redis, storing, telling Redis, committing offsets.",
            unit="s",
            queries=[
                Query(
                    quantile(0.99, "consumer_batch_duration_seconds", REGION, "region, stage"), "{{region}} {{stage}}"
                )
            ],
        ).graph(),
        Panel(
            title="Held up",
            description="Partitions that are paused, batches that PostgreSQL could not take, and 1 while Redis cannot be asked.",
            unit="short",
            queries=[
                Query(f"consumer_paused_partitions{{{REGION}}}", "{{region}} paused"),
                Query(
                    f"sum by (region) (rate(consumer_store_retries_total{{{REGION}}}{RATE}))", "{{region}} retries/s"
                ),
                Query(f"dedup_degraded{{{REGION}}}", "{{region}} without Redis"),
            ],
        ).graph(),
    ]


def render(builder: dashboards.Dashboard) -> str:
    """Return the file's text; panels are numbered, so that a link to one stays true."""
    board = builder.build()
    for number, panel in enumerate(board.panels or [], start=1):
        panel.id_val = number
    return json.dumps(board, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the files, or compare them; 1 when they differ."""
    parser = argparse.ArgumentParser(description="Make grafana/dashboards/*.json from code.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when a file is not what would be written"
    )
    check = parser.parse_args().check
    wanted = {FOLDER / "fleet.json": render(fleet())}
    there = {path: path.read_text() for path in FOLDER.glob("*.json")}
    if check:
        for path in sorted(path for path in wanted.keys() | there.keys() if wanted.get(path) != there.get(path)):
            sys.stderr.write(f"{path.name} is not what the code makes: run python grafana/generate.py\n")
        return int(wanted != there)
    for path, text in wanted.items():
        path.write_text(text)
    for path in there.keys() - wanted.keys():
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
