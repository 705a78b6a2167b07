from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest

from consumer.assembly import assemble
from consumer.metrics import ConsumerMetrics
from consumer.orders import Orders
from consumer.settings import ConsumerSettings
from consumer.tests.strategies import MIRRORED, OWN, an_envelope
from shared.process.bounds import Cut

REGIONS = ("region-a", "region-b")
# Dashboards and rules ask for these: name, then its own labels with the values that there are.
SERIES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "consumer_certificate_end_timestamp_seconds": {},
    "consumer_connections_cut_total": {"reason": list(Cut)},
    "dedup_hits_total": {"layer": ["redis", "postgres"]},
    "dedup_bloom_checks_total": {"answer": ["new", "maybe"]},
    "dedup_invented_total": {},
    "dedup_degraded": {},
    "consumer_ready": {},
    "reorder_late_arrivals_total": {
        "reason": ["delayed", "replication_backlog", "pipeline", "clock_skew", "overtaken"]
    },
    "reorder_buffer_size": {},
    "reorder_buffer_limit": {},
    "consumer_paused_partitions": {},
    "consumer_events_stored_total": {"origin": REGIONS},
    "consumer_end_to_end_seconds_count": {"origin": REGIONS},
    "consumer_dead_letters_total": {
        "reason": ["empty", "malformed", "invalid", "unreadable", "refused_by_store", "conflict"]
    },
    "consumer_skipped_records_total": {
        "topic": ["logs", "region-b.logs"], "reason": ["retention", "truncated", "recreated"],
    },
    "consumer_days_missing": {},
    "consumer_days_overdue": {},
    "consumer_batch_duration_seconds_count": {"stage": ["dedup", "store", "remember", "commit"]},
    "consumer_batch_events_count": {},
    "consumer_store_retries_total": {},
    "consumer_assignments_total": {},
}  # fmt: skip

AT_FIRST = {"reorder_buffer_limit": "7.0", "consumer_certificate_end_timestamp_seconds": "+Inf"}


def exported(registry: CollectorRegistry) -> list[str]:
    """Return the series that count something, without histograms' parts and times of creation."""
    parts = ("_bucket{", "_sum{", "_created{")
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if not line.startswith("#") and not any(part in line for part in parts)]


def a_registry() -> tuple[CollectorRegistry, ConsumerMetrics]:
    registry = CollectorRegistry()
    return registry, ConsumerMetrics(registry, "region-a", REGIONS)


def test_every_series_is_exported_from_the_start_under_the_name_and_labels_that_dashboards_ask_for() -> None:
    registry, metrics = a_registry()
    assemble(ConsumerSettings(region="region-a", regions=REGIONS, instance="one", buffer_max_events=7), metrics)

    expected = []
    for name, labels in SERIES.items():
        sets: list[dict[str, str]] = [{"region": "region-a"}]
        for label, values in labels.items():
            sets = [one | {label: value} for one in sets for value in values]
        for one in sets:
            written = ",".join(f'{label}="{value}"' for label, value in sorted(one.items()))
            expected.append(f"{name}{{{written}}} {AT_FIRST.get(name, '0.0')}")
    assert exported(registry) == expected


def test_whatever_regions_are_named_the_own_one_is_counted() -> None:
    metrics = ConsumerMetrics(CollectorRegistry(), "region-a", ["region-b"])

    assert metrics.stored.keys() == metrics.end_to_end.keys() == {"region-a", "region-b"}
    assert {topic for topic, _ in metrics.skipped} == {"logs", "region-b.logs"}


def test_lag_and_watermark_are_exported_as_long_as_there_are_partitions_and_a_scrape_changes_nothing() -> None:
    registry, metrics = a_registry()
    before = exported(registry)
    buffer = Orders(region="region-a", window_us=10, max_future_us=9, max_events=2, max_bytes=10**6, patience_us=10)
    for partition in (OWN, MIRRORED):
        buffer.assign(partition, 2_000_000, 0, has_unread=True)
    buffer.offer([an_envelope(0, time_us=2_000_000), an_envelope(1, time_us=2_000_001)], 2_000_000)
    buffer.advance()

    metrics.show(buffer, {OWN: 5, MIRRORED: -1})
    first = exported(registry)
    assert exported(registry) == first
    assert 'consumer_lag_records{partition="0",region="region-a",topic="logs"} 5.0' in first
    assert 'consumer_lag_records{partition="0",region="region-a",topic="region-b.logs"} 0.0' in first
    assert 'consumer_watermark_timestamp_seconds{region="region-a"} 2.0' in first
    assert 'reorder_buffer_size{region="region-a"} 2.0' in first
    # The buffer is full; whether it is throttled is for the reader to decide, and not for who looks at it.
    assert 'consumer_paused_partitions{region="region-a"} 0.0' in first
    assert buffer.paused == frozenset()

    metrics.show_nothing()
    assert exported(registry) == before
