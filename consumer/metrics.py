"""Every metric of a consumer, defined once: dashboards, rules and tests take the names from here."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from consumer.envelope import Partition
from consumer.orders import Orders
from shared.process.batch_histogram import BatchHistogram
from shared.process.metrics import BATCH_BUCKETS, FRESHNESS_BUCKETS, LATENCY_BUCKETS


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
        self.days_overdue = Gauge(
            "consumer_days_overdue",
            "Days older than APP_RETENTION_DAYS that could not be archived or emptied",
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

    def show(self, region: str, buffer: Orders, unread: Mapping[Partition, int]) -> None:
        """Show how far an assignment is, and how many records of each partition are not durable."""
        self.buffer_size.labels(region).set(len(buffer))
        self.paused.labels(region).set(len(buffer.to_pause()))
        watermark_us = buffer.watermark_us
        if watermark_us is not None:
            self.watermark.labels(region).set(watermark_us / 1e6)
        for partition, count in unread.items():
            self.lag.labels(region, partition.topic, str(partition.number)).set(max(0, count))

    def show_nothing(self, region: str) -> None:
        """Show that no partition is this consumer's any more."""
        self.buffer_size.labels(region).set(0)
        # What another consumer goes on with must not stay behind as lag that never shrinks, or a watermark that stands still.
        self.lag.clear()
        self.watermark.clear()
