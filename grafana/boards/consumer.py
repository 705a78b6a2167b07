"""*Consumer*: from Kafka to COMMIT; order, duplicates, and where the time goes."""

from grafana_foundation_sdk.builders import dashboard as dashboards

from boards.board import add_row, board, regions
from boards.panels import RATE, REGION, UP_OR_DOWN, Drawn, Panel, Prom, buckets, median_and_p99, quantile


def build() -> dashboards.Dashboard:
    """Build the dashboard."""
    built = board("Consumer", "consumer", "Do events reach PostgreSQL, once and in order, and what holds them up?")
    built.with_variable(regions())
    add_row(built, "Does it keep up?", _keeping_up())
    add_row(built, "Order", _order())
    add_row(built, "Duplicates and dead letters", _duplicates())
    add_row(built, "Where the time goes", _stages())
    return built


def _keeping_up() -> list[Drawn]:
    return [
        Panel(
            title="Ready",
            description="Whether events reach PostgreSQL. If not, /ready and the log say what is waited for.",
            unit="none",
            queries=[Prom(f"min by (region) (consumer_ready{{{REGION}}})", "{{region}}")],
        ).states(UP_OR_DOWN, width=8),
        Panel(
            title="Records not yet stored",
            description="By topic: a region's own, and the copies of the others' that MirrorMaker brought.",
            unit="short",
            queries=[Prom(f"sum by (region, topic) (consumer_lag_records{{{REGION}}})", "{{region}} {{topic}}")],
            limits=[(10_000, "yellow"), (100_000, "red")],
        ).graph(),
        Panel(
            title="Rows stored",
            description="By the region that stored them and the region that accepted the event.",
            unit="cps",
            queries=[
                Prom(
                    f"sum by (region, origin) (rate(consumer_events_stored_total{{{REGION}}}{RATE}))",
                    "{{region}} from {{origin}}",
                )
            ],
        ).areas(),
        Panel(
            title="Receipt to COMMIT",
            description="How many events took how long. The reorder window is the part of it that is intended.",
            unit="s",
            queries=[buckets("consumer_end_to_end_seconds", REGION)],
        ).heat(),
        Panel(
            title="Receipt to COMMIT, against the objective",
            description="Half and 99 of 100 events took no longer. The line is the objective: 99 of 100 within 5 s.",
            unit="s",
            queries=median_and_p99("consumer_end_to_end_seconds", REGION, "region"),
            limits=[(5, "red")],
        ).graph(),
        Panel(
            title="Missed the objective",
            description="Share of events that were stored later than 5 s after their receipt.",
            unit="percentunit",
            queries=[
                Prom(f"region:missed_freshness:ratio_rate5m{{{REGION}}}", "{{region}} 5 minutes"),
                Prom(f"region:missed_freshness:ratio_rate1h{{{REGION}}}", "{{region}} an hour"),
            ],
            limits=[(0.01, "yellow"), (0.144, "red")],
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
        ).graph(),
        Panel(
            title="Watermark delay",
            description="Now minus the watermark: a window in quiet times. It grows while a backlog is worked off, or when nothing leaves the buffer.",
            unit="s",
            queries=[Prom(f"time() - consumer_watermark_timestamp_seconds{{{REGION}}}", "{{region}}")],
            limits=[(60, "yellow")],
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
            title="Partitions paused",
            description="Not read for now, because they are ahead of others and the buffer is full.",
            unit="short",
            queries=[Prom(f"consumer_paused_partitions{{{REGION}}}", "{{region}}")],
        ).graph(),
        Panel(
            title="Assignments in the last hour",
            description="How often partitions were given out anew: starts, deaths, and consumers that came or went.",
            unit="short",
            queries=[Prom(f"increase(consumer_assignments_total{{{REGION}}}[1h])", "{{region}} {{instance}}")],
        ).graph(),
        Panel(
            title="Late, of all that is stored",
            description="Above a twentieth for minutes it is a ticket.",
            unit="percentunit",
            queries=[
                Prom(
                    f"sum by (region) (rate(reorder_late_arrivals_total{{{REGION}}}[5m]))"
                    f" / (sum by (region) (rate(consumer_events_stored_total{{{REGION}}}[5m])) > 0)",
                    "{{region}}",
                )
            ],
            limits=[(0.05, "red")],
        ).graph(),
    ]


def _duplicates() -> list[Drawn]:
    return [
        Panel(
            title="Duplicates recognised",
            description="By the layer that knew them. Redis saves work, PostgreSQL decides: with Redis gone all of them are PostgreSQL's.",
            unit="cps",
            queries=[
                Prom(f"sum by (region, layer) (rate(dedup_hits_total{{{REGION}}}{RATE}))", "{{region}} {{layer}}")
            ],
        ).areas(),
        Panel(
            title="Answers of the bloom filter",
            description="`new` is definitely new and needs no question; `maybe` asks Redis. Many `maybe` without repeats: the filter is too small.",
            unit="cps",
            queries=[
                Prom(
                    f"sum by (region, answer) (rate(dedup_bloom_checks_total{{{REGION}}}{RATE}))",
                    "{{region}} {{answer}}",
                )
            ],
        ).areas(),
        Panel(
            title="Without Redis",
            description="Whether Redis cannot be asked, so that PostgreSQL decides alone. Costs throughput, loses and doubles nothing.",
            unit="none",
            queries=[Prom(f"max by (region) (dedup_degraded{{{REGION}}})", "{{region}}")],
        ).states({"0": ("Redis helps", "green"), "1": ("PostgreSQL alone", "yellow")}, width=8),
        Panel(
            title="Invented by Redis in the last hour",
            description="Events in samples that Redis called stored and PostgreSQL did not have. Each is stored then; none is normal.",
            unit="short",
            queries=[Prom(f"sum by (region) (increase(dedup_invented_total{{{REGION}}}[1h]))", "{{region}}")],
            limits=[(1, "red")],
        ).graph(),
        Panel(
            title="Dead letters in the last hour",
            description="Records set aside in the topic logs-dlq, by reason. None is normal.",
            unit="short",
            queries=[
                Prom(
                    f"sum by (region, reason) (increase(consumer_dead_letters_total{{{REGION}}}[1h]))",
                    "{{region}} {{reason}}",
                )
            ],
            limits=[(1, "red")],
        ).graph(),
        Panel(
            title="Records that can never be read, in the last hour",
            description="They were in Kafka and are gone before they were stored, by topic and reason. None is normal.",
            unit="short",
            queries=[
                Prom(
                    f"sum by (region, topic, reason) (increase(consumer_skipped_records_total{{{REGION}}}[1h]))",
                    "{{region}} {{topic}} {{reason}}",
                )
            ],
            limits=[(1, "red")],
        ).graph(),
        Panel(
            title="Days without a partition",
            description="Days that should have one and could not get it, for example because a long query reads the table. Their events go to logs_default; /ready says why.",
            unit="short",
            queries=[Prom(f"max by (region) (consumer_days_missing{{{REGION}}})", "{{region}}")],
            limits=[(1, "yellow")],
        ).graph(width=12),
        Panel(
            title="Days that should be gone",
            description="Days older than APP_RETENTION_DAYS that could not be archived or emptied; /ready says why. None is normal.",
            unit="short",
            queries=[Prom(f"max by (region) (consumer_days_overdue{{{REGION}}})", "{{region}}")],
            limits=[(1, "yellow")],
        ).graph(width=12),
    ]


def _stages() -> list[Drawn]:
    stage = "consumer_batch_duration_seconds"
    return [
        Panel(
            title="Time a batch takes",
            description="99 of 100 batches took no longer, by stage: asking Redis, storing, telling Redis, committing offsets.",
            unit="s",
            queries=[Prom(quantile(0.99, stage, REGION, "region, stage"), "{{region}} {{stage}}")],
        ).graph(width=6),
        Panel(
            title="Seconds a second, by stage",
            description="Share of the time that each stage takes. The tallest one is what to make faster; near one in all, the consumer is at its limit.",
            unit="percentunit",
            queries=[Prom(f"sum by (region, stage) (rate({stage}_sum{{{REGION}}}{RATE}))", "{{region}} {{stage}}")],
        ).areas(width=6),
        Panel(
            title="Events in a transaction",
            description="Small ones in quiet times; up to the batch limit under load, which is when batching pays.",
            unit="short",
            queries=[
                Prom(
                    f"sum by (region) (rate(consumer_batch_events_sum{{{REGION}}}{RATE}))"
                    f" / (sum by (region) (rate(consumer_batch_events_count{{{REGION}}}{RATE})) > 0)",
                    "{{region}} on average",
                ),
                Prom(quantile(0.99, "consumer_batch_events", REGION, "region"), "{{region}} p99"),
            ],
        ).graph(width=6),
        Panel(
            title="Tried again",
            description="Batches a second that PostgreSQL could not take. Zero in quiet times.",
            unit="cps",
            queries=[Prom(f"sum by (region) (rate(consumer_store_retries_total{{{REGION}}}{RATE}))", "{{region}}")],
        ).graph(width=6),
    ]
