"""Every metric of a producer, defined once: dashboards, rules and tests take the names from here."""

from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.process.bounds import Cut
from shared.process.metrics import LATENCY_BUCKETS
from shared.process.tls import soonest_end

SendOutcome = Literal["acknowledged", "timeout", "error", "overload"]


class ProducerMetrics:
    """
    What a producer counts, with its region as a label.

    Args:
        registry: Of this process.
        region: The producer's own.
    """

    def __init__(self, registry: CollectorRegistry, region: str) -> None:
        self.registry: Final = registry
        outcomes: tuple[SendOutcome, ...] = get_args(SendOutcome)
        send = Counter(
            "log_producer_send_total",
            f"Events by whether Kafka acknowledged them: {', '.join(outcomes)}",
            ["region", "outcome"],
            registry=registry,
        )
        self.send: Final = {outcome: send.labels(region, outcome) for outcome in outcomes}
        self.send_duration: Final = Histogram(
            "log_producer_send_duration_seconds",
            "From taking a group of events to Kafka's acknowledgement of all of it",
            ["region"],
            registry=registry,
            buckets=LATENCY_BUCKETS,
        ).labels(region)
        self.in_flight: Final = Gauge(
            "log_producer_in_flight_bytes",
            "Bytes handed to Kafka and not yet acknowledged",
            ["region"],
            registry=registry,
        ).labels(region)
        self.rebuilds: Final = Counter(
            "log_producer_client_rebuilds_total",
            "Kafka clients that stayed broken and were replaced",
            ["region"],
            registry=registry,
        ).labels(region)
        certificate_end = Gauge(
            "log_producer_certificate_end_timestamp_seconds",
            "When the first of the process's certificates ends; +Inf if it has none",
            ["region"],
            registry=registry,
        ).labels(region)
        certificate_end.set_function(soonest_end)
        cut = Counter(
            "log_producer_connections_cut_total",
            f"Connections that the producer ended although the client had not done with them: {', '.join(Cut)}",
            ["region", "reason"],
            registry=registry,
        )
        self.cut: Final = {reason: cut.labels(region, reason.value) for reason in Cut}
        self.bytes_held: Final = Gauge(
            "log_producer_body_bytes_held",
            "Bytes of requests that are not answered yet, or not complete",
            ["region"],
            registry=registry,
        ).labels(region)
