"""Every metric of a consumer, defined once: dashboards, rules and tests take the names from here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from consumer.beginnings import SKIP_REASONS
from consumer.envelope import DEAD_LETTER_REASONS, LATE_REASONS, Partition
from consumer.orders import Orders
from shared.process.batch_histogram import BatchHistogram
from shared.process.bounds import Cut
from shared.process.metrics import BATCH_BUCKETS, FRESHNESS_BUCKETS, LATENCY_BUCKETS
from shared.process.tls import soonest_end
from shared.wire.regions import consumed_topics

# The labels that no other module has a type for: layers that recognise a duplicate, answers of the filter, stages of a batch.
DedupLayer = Literal["redis", "postgres"]
BloomAnswer = Literal["new", "maybe"]
Stage = Literal["dedup", "store", "remember", "commit"]


class ConsumerMetrics:
    """
    What a consumer counts, with its region as a label.

    Each series is exported from the start, with a zero: a rate over a series that appears with its first event misses that
    event. Lag and watermark are exported while the consumer has partitions.

    Args:
        registry: Of this process.
        region: The consumer's own.
        regions: All regions whose events it reads, in the order in which they are exported; its own may be left out.
    """

    def __init__(self, registry: CollectorRegistry, region: str, regions: Sequence[str]) -> None:
        self.registry: Final = registry
        self._region = region
        certificate_end = Gauge(
            "consumer_certificate_end_timestamp_seconds",
            "When the first of the process's certificates ends; +Inf if it has none",
            ["region"],
            registry=registry,
        ).labels(region)
        certificate_end.set_function(soonest_end)
        cut = Counter(
            "consumer_connections_cut_total",
            f"Connections that ended before their client had done with them: {', '.join(Cut)}",
            ["region", "reason"],
            registry=registry,
        )
        self.cut: Final = {reason: cut.labels(region, reason.value) for reason in Cut}
        layers: tuple[DedupLayer, ...] = get_args(DedupLayer)
        duplicates = Counter(
            "dedup_hits_total",
            f"Duplicates, by the layer that recognised them: {', '.join(layers)}",
            ["region", "layer"],
            registry=registry,
        )
        self.duplicates: Final = {layer: duplicates.labels(region, layer) for layer in layers}
        answers: tuple[BloomAnswer, ...] = get_args(BloomAnswer)
        bloom_checks = Counter(
            "dedup_bloom_checks_total",
            "Answers of the bloom filter: new (definitely new to this instance), maybe",
            ["region", "answer"],
            registry=registry,
        )
        self.bloom_checks: Final = {answer: bloom_checks.labels(region, answer) for answer in answers}
        self.dedup_invented: Final = Counter(
            "dedup_invented_total",
            "Events that Redis called stored and PostgreSQL did not have, in samples of what Redis answers",
            ["region"],
            registry=registry,
        ).labels(region)
        self.dedup_degraded: Final = Gauge(
            "dedup_degraded",
            "1 while Redis cannot be asked and PostgreSQL decides alone",
            ["region"],
            registry=registry,
        ).labels(region)
        self.ready: Final = Gauge(
            "consumer_ready",
            "1 while events reach PostgreSQL; else /ready and the log say why",
            ["region"],
            registry=registry,
        ).labels(region)
        late = Counter(
            "reorder_late_arrivals_total",
            f"Events stored out of order: {', '.join(LATE_REASONS)}",
            ["region", "reason"],
            registry=registry,
        )
        self.late: Final = {reason: late.labels(region, reason) for reason in LATE_REASONS}
        self.buffer_size: Final = Gauge(
            "reorder_buffer_size", "Events in the reorder buffer, not released yet", ["region"], registry=registry
        ).labels(region)
        self.buffer_limit: Final = Gauge(
            "reorder_buffer_limit", "Events the reorder buffer holds at most", ["region"], registry=registry
        ).labels(region)
        self._watermark = Gauge(
            "consumer_watermark_timestamp_seconds",
            "Merged watermark: events older than this arrive late",
            ["region"],
            registry=registry,
        )
        self.paused: Final = Gauge(
            "consumer_paused_partitions", "Partitions that are not read for now", ["region"], registry=registry
        ).labels(region)
        stored = Counter(
            "consumer_events_stored_total",
            "Rows written, by the region that accepted the event",
            ["region", "origin"],
            registry=registry,
        )
        origins = tuple(dict.fromkeys((*regions, region)))
        self.stored: Final = {origin: stored.labels(region, origin) for origin in origins}
        end_to_end = BatchHistogram(
            "consumer_end_to_end_seconds",
            "From receivedAt to COMMIT",
            ["region", "origin"],
            registry=registry,
            buckets=FRESHNESS_BUCKETS,
        )
        self.end_to_end: Final = {origin: end_to_end.labels(region, origin) for origin in origins}
        dead_letters = Counter(
            "consumer_dead_letters_total",
            f"Records set aside: {', '.join(DEAD_LETTER_REASONS)}",
            ["region", "reason"],
            registry=registry,
        )
        self.dead_letters: Final = {reason: dead_letters.labels(region, reason) for reason in DEAD_LETTER_REASONS}
        skipped = Counter(
            "consumer_skipped_records_total",
            "Records that were in Kafka and can never be read, because they are gone: " + ", ".join(SKIP_REASONS),
            ["region", "topic", "reason"],
            registry=registry,
        )
        self.skipped: Final = {
            (topic, reason): skipped.labels(region, topic, reason)
            for topic in consumed_topics(region, regions)
            for reason in SKIP_REASONS
        }
        self.days_missing: Final = Gauge(
            "consumer_days_missing",
            "Days that have no partition of their own although one is being tried for",
            ["region"],
            registry=registry,
        ).labels(region)
        self.days_overdue: Final = Gauge(
            "consumer_days_overdue",
            "Days older than APP_RETENTION_DAYS that could not be archived or emptied",
            ["region"],
            registry=registry,
        ).labels(region)
        self._lag = Gauge(
            "consumer_lag_records",
            "Records in Kafka that are not yet durable in PostgreSQL",
            ["region", "topic", "partition"],
            registry=registry,
        )
        stages: tuple[Stage, ...] = get_args(Stage)
        batch_duration = Histogram(
            "consumer_batch_duration_seconds",
            f"Time a batch spends in a stage: {', '.join(stages)}",
            ["region", "stage"],
            registry=registry,
            buckets=LATENCY_BUCKETS,
        )
        self.batch_duration: Final = {stage: batch_duration.labels(region, stage) for stage in stages}
        self.batch_events: Final = Histogram(
            "consumer_batch_events", "Events in one transaction", ["region"], registry=registry, buckets=BATCH_BUCKETS
        ).labels(region)
        self.store_retries: Final = Counter(
            "consumer_store_retries_total",
            "Batches that PostgreSQL could not take and that are tried again",
            ["region"],
            registry=registry,
        ).labels(region)
        self.rebalances: Final = Counter(
            "consumer_assignments_total", "Partition assignments received", ["region"], registry=registry
        ).labels(region)

    def follow(self, is_ready: Callable[[], bool], is_degraded: Callable[[], bool]) -> None:
        """Ask these two at each scrape; neither may change anything."""
        self.ready.set_function(is_ready)
        self.dedup_degraded.set_function(is_degraded)

    def show(self, buffer: Orders, unread: Mapping[Partition, int]) -> None:
        """Show how far an assignment is, and how many records of each partition are not durable."""
        self.buffer_size.set(len(buffer))
        self.paused.set(len(buffer.paused))
        watermark_us = buffer.watermark_us
        if watermark_us is not None:
            self._watermark.labels(self._region).set(watermark_us / 1e6)
        for partition, count in unread.items():
            self._lag.labels(self._region, partition.topic, str(partition.number)).set(max(0, count))

    def show_nothing(self) -> None:
        """Show that this consumer has no partitions."""
        self.buffer_size.set(0)
        # The next owner exports lag and watermark. Left here, the lag would never shrink, and the watermark stand still.
        self._lag.clear()
        self._watermark.clear()
