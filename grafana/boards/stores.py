"""*Stores*: PostgreSQL, Redis, Kafka, and the disks that they write to."""

from grafana_foundation_sdk.builders import dashboard as dashboards

from boards.board import add_row, board, regions
from boards.panels import EXPORTER_STEP, RATE, REGION, UP_OR_DOWN, Drawn, Panel, Prom, median_and_p99

DATABASE = 'datname="logs"'


def build() -> dashboards.Dashboard:
    """Build the dashboard."""
    built = board("Stores", "stores", "Are PostgreSQL, Redis and Kafka well, and how long will their disks last?")
    built.with_variable(regions())
    add_row(built, "Room", _room())
    add_row(built, "PostgreSQL", _postgres())
    add_row(built, "Readers", _readers())
    add_row(built, "Redis", _redis())
    add_row(built, "Kafka", _kafka())
    return built


def _room() -> list[Drawn]:
    return [
        Panel(
            title="Disk left",
            description="When nothing is left, Kafka ends itself and PostgreSQL takes no more rows. Disks may be the same one.",
            unit="percentunit",
            queries=[Prom("disk_free_bytes / disk_size_bytes", "{{disk}}", EXPORTER_STEP)],
            limits=[(0, "red"), (0.1, "yellow"), (0.3, "green")],
        )
        .number()
        .max(1),
        Panel(
            title="Disk left over time",
            description="Bytes that may still be written. A straight line down to zero says when.",
            unit="bytes",
            queries=[Prom("disk_free_bytes", "{{disk}}", EXPORTER_STEP)],
        ).graph(),
        Panel(
            title="Days ahead that have a partition",
            description="Consumers make partitions two days ahead. At zero, tomorrow's events would go to logs_default first.",
            unit="short",
            queries=[Prom("logs_partitions_days_ahead", "days", EXPORTER_STEP)],
            limits=[(0, "red"), (1, "yellow"), (2, "green")],
        ).number(),
        Panel(
            title="Days kept",
            description="Partitions of the table, one a day. Those older than APP_RETENTION_DAYS are dropped.",
            unit="short",
            queries=[Prom("logs_partitions_count", "days", EXPORTER_STEP)],
        ).number(width=4),
        Panel(
            title="Days far away",
            description="Size of logs_default, which holds events of days too far away for a partition of their own. It should stay small.",
            unit="bytes",
            queries=[Prom("logs_partitions_default_bytes", "logs_default", EXPORTER_STEP)],
        ).number(width=4),
    ]


def _postgres() -> list[Drawn]:
    return [
        Panel(
            title="Answers",
            description="Whether the exporter can ask it.",
            unit="none",
            queries=[Prom("pg_up", "PostgreSQL", EXPORTER_STEP)],
        ).states(UP_OR_DOWN, width=8),
        Panel(
            title="Transactions",
            description="Committed and rolled back. Each batch of a consumer is one; rolled back ones are tried again.",
            unit="cps",
            queries=[
                Prom(f"sum(rate(pg_stat_database_xact_commit{{{DATABASE}}}{RATE}))", "committed", EXPORTER_STEP),
                Prom(f"sum(rate(pg_stat_database_xact_rollback{{{DATABASE}}}{RATE}))", "rolled back", EXPORTER_STEP),
            ],
        ).graph(),
        Panel(
            title="Connections",
            description="By state. Many that are idle in a transaction hold locks that a partition's making waits for.",
            unit="short",
            queries=[Prom(f"sum by (state) (pg_stat_activity_count{{{DATABASE}}})", "{{state}}", EXPORTER_STEP)],
        ).areas(),
        Panel(
            title="Size",
            description="Of the database, and of the table's days with their indexes.",
            unit="bytes",
            queries=[
                Prom(f"max(pg_database_size_bytes{{{DATABASE}}})", "database", EXPORTER_STEP),
                Prom("max(logs_partitions_bytes)", "days", EXPORTER_STEP),
            ],
        ).graph(),
        Panel(
            title="Write-ahead log",
            description="Bytes a second. Several times what comes in right after a checkpoint, since whole pages are written then.",
            unit="Bps",
            queries=[Prom(f"sum(rate(logs_wal_bytes_total{RATE}))", "written", EXPORTER_STEP)],
        ).graph(),
        Panel(
            title="Read from memory",
            description="Share of pages that were found in shared buffers. Falling for long: the indexes of the days written to do not fit any more.",
            unit="percentunit",
            queries=[
                Prom(
                    f"sum(rate(pg_stat_database_blks_hit{{{DATABASE}}}{RATE}))"
                    f" / (sum(rate(pg_stat_database_blks_hit{{{DATABASE}}}{RATE}))"
                    f" + sum(rate(pg_stat_database_blks_read{{{DATABASE}}}{RATE})) > 0)",
                    "found",
                    EXPORTER_STEP,
                )
            ],
        ).graph(),
        Panel(
            title="Deadlocks in the last hour",
            description="None is normal: consumers insert in one order. One that comes is tried again by itself.",
            unit="short",
            queries=[Prom(f"sum(increase(pg_stat_database_deadlocks{{{DATABASE}}}[1h]))", "deadlocks", EXPORTER_STEP)],
            limits=[(1, "yellow")],
        ).graph(width=24),
    ]


def _readers() -> list[Drawn]:
    return [
        Panel(
            title="Answers to readers",
            description="A second, by route. A page of a search takes two seconds at most; an export counts when it ends.",
            unit="reqps",
            queries=[Prom(f"sum by (route) (rate(console_requests_total{RATE}))", "{{route}}")],
        ).graph(),
        Panel(
            title="Time of an answer",
            description="Half of the searches took no longer, and 99 of 100. Those without an index use their two seconds.",
            unit="s",
            queries=median_and_p99("console_request_duration_seconds", 'route="/api/logs"'),
        ).graph(),
        Panel(
            title="Refused readers",
            description="A second, by reason: one caller has too many or asks too much, all connections are in use, PostgreSQL is away.",
            unit="reqps",
            queries=[Prom(f"sum by (reason) (rate(console_refusals_total{RATE}))", "{{reason}}")],
            limits=[(1, "yellow")],
        ).graph(),
        Panel(
            title="Connections of readers",
            description="In use for searches and exports. At six, further ones wait a second and are refused then. Tails share three others.",
            unit="short",
            queries=[Prom("sum(console_sessions)", "in use"), Prom("sum(console_tails)", "tails")],
        ).graph(),
        Panel(
            title="Time PostgreSQL works for readers",
            description="Seconds a second. One is a core of the machine that the writers need, too.",
            unit="short",
            queries=[Prom(f"sum(rate(console_query_seconds_total{RATE}))", "readers")],
            limits=[(1, "yellow")],
        ).graph(),
        Panel(
            title="Reads through the gateway",
            description="A second, by HTTP status. 503: the console is away, or more than 64 at once.",
            unit="reqps",
            queries=[Prom(f"sum by (status) (rate(gateway_reads_total{RATE}))", "{{status}}")],
        ).graph(),
    ]


def _redis() -> list[Drawn]:
    return [
        Panel(
            title="Memory",
            description="Used, and the limit at which the oldest ids make room for new ones. Being full is its normal state after some time.",
            unit="bytes",
            queries=[
                Prom("redis_memory_used_bytes", "used", EXPORTER_STEP),
                Prom("redis_memory_max_bytes", "limit", EXPORTER_STEP),
            ],
        ).graph(),
        Panel(
            title="Commands",
            description="A second. A batch is one or two of them, however many events it has.",
            unit="cps",
            queries=[Prom(f"rate(redis_commands_processed_total{RATE})", "commands", EXPORTER_STEP)],
        ).graph(),
        Panel(
            title="Forgotten",
            description="Ids a second that were evicted for want of memory, and that grew too old. Forgetting is allowed: PostgreSQL decides.",
            unit="cps",
            queries=[
                Prom(f"rate(redis_evicted_keys_total{RATE})", "evicted", EXPORTER_STEP),
                Prom(f"rate(redis_expired_keys_total{RATE})", "too old", EXPORTER_STEP),
            ],
        ).graph(),
    ]


def _kafka() -> list[Drawn]:
    return [
        Panel(
            title="Records in",
            description="A second and topic: what was written, and the copies of other regions.",
            unit="cps",
            queries=[
                Prom(
                    f'sum by (region, topic) (rate(kafka_topic_messagesin_total{{{REGION}, topic=~"(.+[.])?logs(-dlq)?"}}{RATE}))',
                    "{{region}} {{topic}}",
                    EXPORTER_STEP,
                )
            ],
        ).areas(),
        Panel(
            title="Size of the logs",
            description="On disk, by topic. Retention removes what is older than seven days unless it is set otherwise.",
            unit="bytes",
            queries=[
                Prom(
                    f'sum by (region, topic) (kafka_log_size_bytes{{{REGION}, topic=~"(.+[.])?logs(-dlq)?"}})',
                    "{{region}} {{topic}}",
                    EXPORTER_STEP,
                )
            ],
        ).areas(),
        Panel(
            title="Time in the broker",
            description="99 of 100 requests took no longer. A fetch waits for records for up to half a second; a produce should not wait.",
            unit="s",
            queries=[
                Prom(
                    f'kafka_request_time_seconds{{{REGION}, quantile="0.99"}}', "{{region}} {{request}}", EXPORTER_STEP
                )
            ],
        ).graph(),
        Panel(
            title="Idle request handlers",
            description="Share of time that they had nothing to do. Below a third the broker is the bottleneck.",
            unit="percentunit",
            queries=[Prom(f"kafka_request_handler_idle_ratio{{{REGION}}}", "{{region}}", EXPORTER_STEP)],
        ).graph(),
        Panel(
            title="Partitions with a problem",
            description="Offline, under-replicated or below their minimum of replicas. None is normal.",
            unit="short",
            queries=[
                Prom(f"kafka_controller_offlinepartitionscount{{{REGION}}}", "{{region}} offline", EXPORTER_STEP),
                Prom(
                    f"kafka_replica_manager_underreplicatedpartitions{{{REGION}}}",
                    "{{region}} under-replicated",
                    EXPORTER_STEP,
                ),
            ],
            limits=[(1, "red")],
        ).graph(),
        Panel(
            title="Heap",
            description="Used by each broker's Java machine. Near its limit for long, it does little but clean up.",
            unit="bytes",
            queries=[
                Prom(
                    f'sum by (region) (jvm_memory_used_bytes{{{REGION}, job="kafka", area="heap"}})',
                    "{{region}}",
                    EXPORTER_STEP,
                ),
                Prom('max(jvm_memory_max_bytes{job="kafka", area="heap"})', "limit", EXPORTER_STEP),
            ],
        ).graph(),
    ]
