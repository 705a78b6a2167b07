"""*Replication*: how far each region is behind, whether anything was lost, and how the mirrors are."""

from grafana_foundation_sdk.builders import dashboard as dashboards

from boards.board import add_row, board, regions
from boards.panels import EXPORTER_STEP, RATE, UP_OR_DOWN, Drawn, Panel, Prom

LINK = 'source=~"$region"'
# MirrorMaker's series of the events' topic, not of heartbeats.
COPIES = f'{LINK}, topic=~".+[.]logs"'
# Each gateway watches replication by itself. The one that knows most is right.
BY_LINK = "by (source, target)"
LEGEND = "{{source}} → {{target}}"


def build() -> dashboards.Dashboard:
    """Build the dashboard."""
    built = board(
        "Replication", "replication", "How far is each region behind the other, and was anything lost on the way?"
    )
    built.with_variable(regions())
    add_row(built, "What would be missing if a region were lost now", _exposure())
    add_row(built, "What gets through", _flow())
    add_row(built, "What went wrong", _troubles())
    add_row(built, "MirrorMaker", _mirrors())
    return built


def _exposure() -> list[Drawn]:
    return [
        Panel(
            title="Links",
            description="Whether events are copied, or there is nothing left to copy. Red is a split, marked in all dashboards.",
            unit="none",
            queries=[Prom(f"link:replication_up:max{{{LINK}}}", LEGEND)],
        ).states(UP_OR_DOWN, width=8),
        Panel(
            title="Lag",
            description="Time since everything in the source was known to be in the target. True also while no event is sent, and during a cut. The line is the objective.",
            unit="s",
            queries=[Prom(f"link:replication_lag_seconds:min{{{LINK}}}", LEGEND)],
            limits=[(10, "red")],
        ).graph(),
        Panel(
            title="Exposed events",
            description="Acknowledged in the source and not in the target: what the target would miss if the source were lost now.",
            unit="short",
            queries=[Prom(f"link:replication_lag_records:min{{{LINK}}}", LEGEND)],
            limits=[(5000, "yellow")],
        ).graph(),
    ]


def _flow() -> list[Drawn]:
    return [
        Panel(
            title="Copied",
            description="Events a second that MirrorMaker copied and the target acknowledged.",
            unit="cps",
            queries=[
                Prom(f"sum {BY_LINK} (rate(mirrormaker_copied_records_total{{{COPIES}}}{RATE}))", LEGEND, EXPORTER_STEP)
            ],
        ).graph(),
        Panel(
            title="Bytes copied",
            description="What the line between the regions carries of events, as they lie in Kafka. Heartbeats and the mirrors' own notes come on top.",
            unit="Bps",
            queries=[
                Prom(f"sum {BY_LINK} (rate(mirrormaker_copied_bytes_total{{{COPIES}}}{RATE}))", LEGEND, EXPORTER_STEP)
            ],
        ).graph(),
        Panel(
            title="Heartbeat age",
            description="Age of the newest heartbeat that got through; one is sent each second. It grows while nothing gets through, with or without events.",
            unit="s",
            queries=[Prom(f"min {BY_LINK} (replication_heartbeat_age_seconds{{{LINK}}})", LEGEND)],
            limits=[(10, "red")],
        ).graph(),
        Panel(
            title="Age of copies",
            description="Of the copies that the target acknowledged, on average and at most. Stands still while none is.",
            unit="s",
            queries=[
                Prom(
                    f"max {BY_LINK} (mirrormaker_replication_latency_avg_seconds{{{LINK}}})",
                    f"{LEGEND} average",
                    EXPORTER_STEP,
                ),
                Prom(
                    f"max {BY_LINK} (mirrormaker_replication_latency_max_seconds{{{LINK}}})",
                    f"{LEGEND} at most",
                    EXPORTER_STEP,
                ),
            ],
        ).graph(),
        Panel(
            title="Not yet read by MirrorMaker",
            description="As of its latest fetch; stands still while none is answered. If it is above zero and nothing is copied, the mirror hangs or the target refuses.",
            unit="short",
            queries=[Prom(f"sum {BY_LINK} (mirrormaker_unread_records{{{COPIES}}})", LEGEND, EXPORTER_STEP)],
        ).graph(),
        Panel(
            title="Grown in two minutes",
            description="By the brokers' own logs: how many records the original gained, and how many its copy did. Needs no gateway and no mirror to be seen.",
            unit="short",
            queries=[
                Prom(f"region:written_records:delta2m{{{LINK}}}", "{{source}} written"),
                Prom(f"link:copied_records:delta2m{{{LINK}}}", f"{LEGEND} copied"),
            ],
        ).graph(),
    ]


def _troubles() -> list[Drawn]:
    return [
        Panel(
            title="Lost to the target in the last hour",
            description="Events that were gone, or skipped, before they were copied. None is normal; the gateway's log names partition and offsets.",
            unit="short",
            queries=[Prom(f"max {BY_LINK} (increase(replication_gap_records_total{{{LINK}}}[1h]))", LEGEND)],
            limits=[(1, "red")],
        ).graph(),
        Panel(
            title="Begun anew in the last hour",
            description="Partitions that MirrorMaker copies again because its position went back. The copies are recognised as duplicates.",
            unit="short",
            queries=[Prom(f"max {BY_LINK} (increase(replication_resets_total{{{LINK}}}[1h]))", LEGEND)],
            limits=[(1, "yellow")],
        ).graph(),
        Panel(
            title="Rewritten in the last hour",
            description="Partitions of the source that were made anew or lost their end. If MirrorMaker has begun them anew as well, all is copied. Otherwise it skips what is written in their place.",
            unit="short",
            queries=[Prom(f"max {BY_LINK} (increase(replication_rewritten_total{{{LINK}}}[1h]))", LEGEND)],
            limits=[(1, "red")],
        ).graph(),
        Panel(
            title="Held up by a record",
            description="Partitions that stand still while others are copied. None is normal; the gateway's log names partition and offset.",
            unit="short",
            queries=[Prom(f"link:replication_stopped_partitions:max{{{LINK}}}", LEGEND)],
            limits=[(1, "red")],
        ).graph(),
        Panel(
            title="Restarts in the last hour",
            description="Of MirrorMaker, of any cause. Its log says why it was ended. If it is restarted again and again, the target refuses a record.",
            unit="short",
            queries=[Prom('changes(process_start_time_seconds{job="mirrormaker"}[1h])', "{{instance}}", EXPORTER_STEP)],
            limits=[(1, "yellow"), (4, "red")],
        ).graph(),
    ]


def _mirrors() -> list[Drawn]:
    return [
        Panel(
            title="Tasks",
            description="How many of each connector's tasks run, by process. A failed one makes the process end itself and start anew.",
            unit="none",
            queries=[
                Prom(
                    "sum by (instance, connector, status) (mirrormaker_task_status)",
                    "{{instance}} {{connector}} {{status}}",
                    EXPORTER_STEP,
                )
            ],
        ).graph(),
        Panel(
            title="Under way",
            description="Records read and not yet acknowledged by the target.",
            unit="short",
            queries=[
                Prom(
                    'sum by (instance) (mirrormaker_records_in_flight{connector="MirrorSourceConnector"})',
                    "{{instance}}",
                    EXPORTER_STEP,
                )
            ],
        ).graph(),
        Panel(
            title="Heap",
            description="Used by each mirror's Java machine. Near its limit for long, it does little but clean up.",
            unit="bytes",
            queries=[
                Prom(
                    'sum by (instance) (jvm_memory_used_bytes{job="mirrormaker", area="heap"})',
                    "{{instance}}",
                    EXPORTER_STEP,
                ),
                Prom('max(jvm_memory_max_bytes{job="mirrormaker", area="heap"})', "limit", EXPORTER_STEP),
            ],
        ).graph(),
    ]
