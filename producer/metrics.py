"""Every metric of a producer, defined once: dashboards, rules and tests take the names from here."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.process.metrics import LATENCY_BUCKETS


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
