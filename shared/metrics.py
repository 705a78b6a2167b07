"""
Every metric the fleet exports, defined once: dashboards, rules and tests take the names from here.

Base units, bounded label sets. One class a service; each holds its metrics on a registry of its own, so that two apps in
one process (as in tests) do not share counters.
"""

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from shared.batch_histogram import BatchHistogram

LATENCY_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
FRESHNESS_BUCKETS: Final = (0.1, 0.25, 0.5, 0.75, 1.0, 1.15, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
BATCH_BUCKETS: Final = (1, 5, 10, 50, 100, 500, 1000, 2500, 5000, 10000)

# Of `shared.disks`, which makes its series anew at each scrape.
DISK_FREE: Final = "disk_free_bytes"
DISK_SIZE: Final = "disk_size_bytes"


def new_registry() -> CollectorRegistry:
    """Return a registry that already tells about the process: memory, CPU, file descriptors."""
    # Twice the series, for the time at which each one began; nobody asks for it.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library forgot the annotation
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


class GatewayMetrics:
    """What the gateway counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "gateway_requests_total", "Requests to the log API, by HTTP status", ["status"], registry=registry
        )
        self.request_duration = Histogram(
            "gateway_request_duration_seconds",
            "From a request to the log API to its answer",
            registry=registry,
            buckets=LATENCY_BUCKETS,
        )
        self.events = Counter(
            "gateway_events_total", "Events by what became of them", ["region", "outcome"], registry=registry
        )
        self.fallbacks = Counter(
            "gateway_routing_fallbacks_total",
            "Events that another region acknowledged than the one they were meant for",
            ["from_region", "to_region"],
            registry=registry,
        )
        self.region_up = Gauge(
            "gateway_region_up",
            "1 while the gateway sends to the region, 0 while its circuit is open",
            ["region"],
            registry=registry,
        )
        self.queue = Gauge(
            "gateway_queue_events", "Events that wait for or are in an upstream request", ["region"], registry=registry
        )
        self.upstream_batch = Histogram(
            "gateway_upstream_batch_events",
            "Events in one request to a producer",
            ["region"],
            registry=registry,
            buckets=BATCH_BUCKETS,
        )
        link = ["source", "target"]
        self.replication_up = Gauge(
            "replication_up",
            "1 while all partitions are copied or there is nothing left to copy, 0 when neither is known",
            link,
            registry=registry,
        )
        self.replication_stopped = Gauge(
            "replication_stopped_partitions",
            "Partitions with events of which none is copied while others are",
            link,
            registry=registry,
        )
        self.replication_lag_seconds = Gauge(
            "replication_lag_seconds",
            "Time since everything in the source was known to be in the target",
            link,
            registry=registry,
        )
        self.replication_lag_records = Gauge(
            "replication_lag_records",
            "Events in the source and not in the target, by what was last seen of both",
            link,
            registry=registry,
        )
        self.heartbeat_age = Gauge(
            "replication_heartbeat_age_seconds",
            "Age of the newest heartbeat of the source that is known to be in the target",
            link,
            registry=registry,
        )
        self.replication_gaps = Counter(
            "replication_gap_records_total",
            "Events that are gone from the source, or were passed over, before they were copied",
            link,
            registry=registry,
        )
        self.replication_resets = Counter(
            "replication_resets_total",
            "Partitions in which MirrorMaker's position went back, so that events are copied again",
            link,
            registry=registry,
        )
        self.replication_rewritten = Counter(
            "replication_rewritten_total",
            "Partitions of the source that were made anew, or cut off before what was copied",
            link,
            registry=registry,
        )


class ProducerMetrics:
    """What a producer counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.send = Counter(
            "log_producer_send_total",
            "Events by whether Kafka acknowledged them: acknowledged, timeout, error, overload",
            ["region", "outcome"],
            registry=registry,
        )
        self.send_duration = Histogram(
            "log_producer_send_duration_seconds",
            "From taking a group of events to Kafka's acknowledgement of all of it",
            ["region"],
            registry=registry,
            buckets=LATENCY_BUCKETS,
        )
        self.in_flight = Gauge(
            "log_producer_in_flight_bytes",
            "Bytes handed to Kafka and not yet acknowledged",
            ["region"],
            registry=registry,
        )
        self.rebuilds = Counter(
            "log_producer_client_rebuilds_total",
            "Kafka clients that stayed broken and were replaced",
            ["region"],
            registry=registry,
        )


class ConsumerMetrics:
    """What a consumer counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.duplicates = Counter(
            "dedup_hits_total",
            "Duplicates, by the layer that recognised them: redis, postgres",
            ["region", "layer"],
            registry=registry,
        )
        self.bloom_checks = Counter(
            "dedup_bloom_checks_total",
            "Answers of the bloom filter: new (certainly new to this instance), maybe",
            ["region", "answer"],
            registry=registry,
        )
        self.dedup_degraded = Gauge(
            "dedup_degraded",
            "1 while Redis cannot be asked and PostgreSQL decides alone",
            ["region"],
            registry=registry,
        )
        self.ready = Gauge(
            "consumer_ready",
            "1 while events reach PostgreSQL; else /ready and the log say why",
            ["region"],
            registry=registry,
        )
        self.late = Counter(
            "reorder_late_arrivals_total",
            "Events stored out of order: delayed, replication_backlog, pipeline, clock_skew, overtaken",
            ["region", "reason"],
            registry=registry,
        )
        self.buffer_size = Gauge(
            "reorder_buffer_size", "Events held back until their order is certain", ["region"], registry=registry
        )
        self.buffer_limit = Gauge(
            "reorder_buffer_limit", "Events the reorder buffer holds at most", ["region"], registry=registry
        )
        self.watermark = Gauge(
            "consumer_watermark_timestamp_seconds",
            "Merged watermark: events older than this arrive late",
            ["region"],
            registry=registry,
        )
        self.paused = Gauge(
            "consumer_paused_partitions", "Partitions that are not read for now", ["region"], registry=registry
        )
        self.stored = Counter(
            "consumer_events_stored_total",
            "Rows written, by the region that accepted the event",
            ["region", "origin"],
            registry=registry,
        )
        self.end_to_end = BatchHistogram(
            "consumer_end_to_end_seconds",
            "From receivedAt to COMMIT",
            ["region", "origin"],
            registry=registry,
            buckets=FRESHNESS_BUCKETS,
        )
        self.dead_letters = Counter(
            "consumer_dead_letters_total",
            "Records set aside: empty, malformed, invalid, unreadable, refused_by_store, conflict",
            ["region", "reason"],
            registry=registry,
        )
        self.skipped = Counter(
            "consumer_skipped_records_total",
            "Records that were in Kafka and can never be read, because they are gone: retention, truncated, recreated",
            ["region", "topic", "reason"],
            registry=registry,
        )
        self.days_missing = Gauge(
            "consumer_days_missing",
            "Days that have no partition of their own although one is being tried for",
            ["region"],
            registry=registry,
        )
        self.lag = Gauge(
            "consumer_lag_records",
            "Records in Kafka that are not yet durable in PostgreSQL",
            ["region", "topic", "partition"],
            registry=registry,
        )
        self.batch_duration = Histogram(
            "consumer_batch_duration_seconds",
            "Time a batch spends in a stage: dedup, store, remember, commit",
            ["region", "stage"],
            registry=registry,
            buckets=LATENCY_BUCKETS,
        )
        self.batch_events = Histogram(
            "consumer_batch_events", "Events in one transaction", ["region"], registry=registry, buckets=BATCH_BUCKETS
        )
        self.store_retries = Counter(
            "consumer_store_retries_total",
            "Batches that PostgreSQL could not take and that are tried again",
            ["region"],
            registry=registry,
        )
        self.rebalances = Counter(
            "consumer_assignments_total", "Partition assignments received", ["region"], registry=registry
        )
