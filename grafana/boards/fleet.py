"""*Fleet*: the ten-second view. Which region has a problem, is data at risk, what to do."""

from collections.abc import Mapping
from typing import Final

from grafana_foundation_sdk.builders import dashboard as dashboards

from boards.board import EVENTS, EVENTS_TITLE, add_row, board, jobs, regions
from boards.panels import EXPORTER_STEP, RATE, REGION, UP_OR_DOWN, Column, Drawn, Panel, Prom, median_and_p99
from boards.runbook import UID, panel_numbers

LINK = 'source=~"$region"'
JOB = 'job=~"$service"'
OF_REGION: Final = f"{EVENTS}&region=${{__value.raw:percentencode}}"


def build(runbook: Mapping[str, str]) -> dashboards.Dashboard:
    """Build the dashboard; alerts lead to their section of the run book."""
    built = board("Fleet", "fleet", "Which region is ill, is data at risk, and what is to be done?", refresh="5s")
    built.with_variable(regions()).with_variable(jobs())
    add_row(built, "Is anything ill, and is data at risk?", _at_a_glance())
    add_row(built, "What to do", [_alerts(runbook)])
    add_row(built, "In, across, out", _flow())
    add_row(built, "Order and duplicates", _order())
    add_row(built, "Parts", _parts())
    return built


def _at_a_glance() -> list[Drawn]:
    return [
        Panel(
            title="Regions",
            description="Whether a gateway sends to the region. While all circuits are open, another region serves for it.",
            unit="none",
            queries=[Prom(f"max by (region) (gateway_region_up{{{REGION}}})", "{{region}}")],
            links={"ingest": "Ingest"},
        ).number(states=UP_OR_DOWN),
        Panel(
            title="Links",
            description="Whether events are copied, or there is nothing left to copy. Down: the link is cut, or a region or its mirror is away.",
            unit="none",
            queries=[Prom(f"link:replication_up:max{{{LINK}}}", "{{source}} → {{target}}")],
            links={"replication": "Replication"},
        ).number(states=UP_OR_DOWN),
        Panel(
            title="Stores",
            description="Whether the exporters reach PostgreSQL and Redis. Without Redis nothing is lost; without PostgreSQL events wait in Kafka.",
            unit="none",
            queries=[Prom("pg_up", "PostgreSQL", EXPORTER_STEP), Prom("redis_up", "Redis", EXPORTER_STEP)],
            links={"stores": "Stores"},
        ).number(states=UP_OR_DOWN),
        Panel(
            title="Exposed events",
            description="Acknowledged and in one region alone, each way: what would be missing if that region were lost now.",
            unit="short",
            queries=[Prom(f"link:replication_lag_records:min{{{LINK}}}", "{{source}} → {{target}}")],
            limits=[(5000, "yellow"), (50_000, "red")],
            links={"replication": "Replication"},
        ).number(),
        Panel(
            title="Acknowledged and stored",
            description="Events a second that clients were promised, and rows a second that PostgreSQL got. Far apart for long: a backlog grows.",
            unit="cps",
            queries=[
                Prom(f'sum(rate(log_producer_send_total{{{REGION}, outcome="acknowledged"}}{RATE}))', "acknowledged"),
                Prom(f"sum(rate(consumer_events_stored_total{{{REGION}}}{RATE}))", "stored"),
            ],
        ).number(),
        Panel(
            title="Error budgets left",
            description="Of a day's share: answered within 1 s, stored within 5 s, copied within 10 s, each for 99 of 100. Below zero: overspent.",
            unit="percentunit",
            queries=[
                Prom("1 - gateway:missed_acknowledgement:ratio_rate1d / 0.01", "acknowledgement"),
                Prom("1 - max(region:missed_freshness:ratio_rate1d) / 0.01", "freshness"),
                Prom("1 - max(link:missed_exposure:ratio_avg1d) / 0.01", "exposure"),
            ],
            limits=[(-1e9, "red"), (0, "yellow"), (0.5, "green")],
        )
        .number()
        .min(-10),
    ]


def _alerts(runbook: Mapping[str, str]) -> Drawn:
    # The name stands twice: once to be read, once as the number of its section's panel.
    firing = 'sort_desc(ALERTS{alertstate="firing"})'
    named = f'label_replace({firing}, "section", "$1", "alertname", "(.+)")'
    none = 'label_replace(vector(0), "alertname", "none fires", "", "")'
    return Panel(
        title="Alerts that fire",
        description="Pages need a person now, tickets this week. A click on the number of its section opens the run book there, one on a region the events of it.",
        unit="none",
        queries=[Prom(f"{named} or on () {none}", instant=True)],
    ).rows(
        [
            Column(
                "section",
                link=f"/d/{UID}?viewPanel=${{__value.text}}",
                link_title="Run book",
                texts=panel_numbers(runbook),
                width=110,
            ),
            Column("alertname", link=f"/d/{UID}", link_title="Run book", also={EVENTS_TITLE: EVENTS}),
            Column("region", link=OF_REGION, link_title="Events of this region in the console"),
            Column("source", link=OF_REGION, link_title="Events of this region in the console"),
        ],
        hide=["Time", "Value", "__name__", "alertstate"],
        order=["severity", "alertname", "section", "region", "source", "target", "job", "instance"],
        height=7,
    )


def _flow() -> list[Drawn]:
    return [
        Panel(
            title="Events handed to Kafka",
            description="By what became of them. Anything but `acknowledged` was answered with 503 or went to another region.",
            unit="cps",
            queries=[
                Prom(
                    f"sum by (region, outcome) (rate(log_producer_send_total{{{REGION}}}{RATE}))",
                    "{{region}} {{outcome}}",
                )
            ],
            links={"ingest": "Ingest"},
        ).areas(),
        Panel(
            title="Time to acknowledgement",
            description="From taking a group of events to Kafka's acknowledgement of all of it, in the producer.",
            unit="s",
            queries=median_and_p99("log_producer_send_duration_seconds", REGION, "region"),
            limits=[(1, "red")],
            links={"ingest": "Ingest"},
        ).graph(),
        Panel(
            title="Failovers",
            description="Events that another region acknowledged than the one they were meant for. Zero in quiet times.",
            unit="cps",
            queries=[
                Prom(
                    f'sum by (from_region, to_region) (rate(gateway_routing_fallbacks_total{{from_region=~"$region"}}{RATE}))',
                    "{{from_region}} → {{to_region}}",
                )
            ],
            links={"ingest": "Ingest"},
        ).graph(),
        Panel(
            title="Replication lag",
            description="Time since everything in the source was known to be in the target. True also while no event is sent, and during a cut.",
            unit="s",
            queries=[Prom(f"link:replication_lag_seconds:min{{{LINK}}}", "{{source}} → {{target}}")],
            limits=[(10, "red")],
            links={"replication": "Replication"},
        ).graph(),
        Panel(
            title="Receipt to COMMIT",
            description="From the gateway's receipt of an event to its COMMIT. The reorder window is the part of it that is intended.",
            unit="s",
            queries=median_and_p99("consumer_end_to_end_seconds", REGION, "region"),
            limits=[(5, "red")],
            links={"consumer": "Consumer"},
        ).graph(),
        Panel(
            title="Records not yet stored",
            description="By topic: a region's own, and the copies of the others' that MirrorMaker brought.",
            unit="short",
            queries=[Prom(f"sum by (region, topic) (consumer_lag_records{{{REGION}}})", "{{region}} {{topic}}")],
            limits=[(100_000, "red")],
            links={"consumer": "Consumer"},
        ).graph(),
    ]


def _order() -> list[Drawn]:
    return [
        Panel(
            title="Reorder buffer",
            description="Events held back until their order is certain, and the limit at which partitions are paused.",
            unit="short",
            queries=[
                Prom(f"reorder_buffer_size{{{REGION}}}", "{{region}}"),
                Prom(f"reorder_buffer_limit{{{REGION}}}", "{{region}} limit"),
            ],
            links={"consumer": "Consumer"},
        ).graph(),
        Panel(
            title="Late arrivals",
            description="Events stored out of order, by reason: delayed at the client, replication backlog, held up here, or from the future.",
            unit="cps",
            queries=[
                Prom(
                    f"sum by (region, reason) (rate(reorder_late_arrivals_total{{{REGION}}}{RATE}))",
                    "{{region}} {{reason}}",
                )
            ],
            links={"logs": "Logs"},
        ).areas(),
        Panel(
            title="Duplicates recognised",
            description="By the layer that knew them. Redis saves work, PostgreSQL decides: with Redis gone all of them are PostgreSQL's.",
            unit="cps",
            queries=[
                Prom(f"sum by (region, layer) (rate(dedup_hits_total{{{REGION}}}{RATE}))", "{{region}} {{layer}}")
            ],
            links={"consumer": "Consumer"},
        ).areas(),
    ]


def _parts() -> list[Drawn]:
    return [
        Panel(
            title="Answers",
            description="Whether Prometheus could read the part's metrics.",
            unit="none",
            queries=[Prom(f"up{{{JOB}}}", "{{job}} {{instance}}")],
        ).states(UP_OR_DOWN),
        Panel(
            title="Processor",
            description="Cores in use. Near one for a Python service: it can do no more; start another one beside it.",
            unit="none",
            queries=[Prom(f"rate(process_cpu_seconds_total{{{JOB}}}{RATE})", "{{job}} {{instance}}", EXPORTER_STEP)],
        ).graph(width=6),
        Panel(
            title="Memory",
            description="Resident. Each part has a limit; one that climbs for hours has a leak.",
            unit="bytes",
            queries=[Prom(f"process_resident_memory_bytes{{{JOB}}}", "{{job}} {{instance}}", EXPORTER_STEP)],
        ).graph(width=6),
    ]
