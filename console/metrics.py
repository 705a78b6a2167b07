"""Every metric of the console, defined once: dashboards, rules and tests take the names from here."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from shared.access.keys import Reason
from shared.process.audit_metrics import AuditMetrics
from shared.process.bounds import Cut
from shared.process.metrics import LATENCY_BUCKETS
from shared.process.tls import soonest_end

REFUSALS: Final = ("busy", "caller", "budget", "store")
"""Why a request was refused: all connections in use, one caller has too many, or asked too much; PostgreSQL is away."""


EXPORT: Final = "export"
"""What an export is counted as: it may take an hour, and would hide how long searches take."""


class ConsoleMetrics:
    """What the console counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry: Final = registry
        self.requests: Final = Counter(
            "console_requests_total", "Requests, by route and HTTP status", ["route", "status"], registry=registry
        )
        self.request_duration: Final = Histogram(
            "console_request_duration_seconds",
            "From a request to the end of its answer, by route",
            ["route"],
            registry=registry,
            buckets=LATENCY_BUCKETS,
        )
        refusals = Counter(
            "console_refusals_total",
            f"Requests that were refused although they made sense, by reason: {', '.join(REFUSALS)}",
            ["reason"],
            registry=registry,
        )
        self.refusals: Final = {reason: refusals.labels(reason) for reason in REFUSALS}
        self.rows: Final = Counter("console_rows_total", "Rows that answers had", ["route"], registry=registry)
        self.tails: Final = Gauge("console_tails", "Tails that clients have open now", registry=registry)
        self.query_seconds: Final = Counter(
            "console_query_seconds_total", "Time that readers had a connection to PostgreSQL", registry=registry
        )
        self.sessions: Final = Gauge(
            "console_sessions", "Connections to PostgreSQL that readers have now", registry=registry
        )
        self.postgres_up: Final = Gauge(
            "console_postgres_up", "1 while PostgreSQL answers the console, 0 else", registry=registry
        )
        self.url: Final = Gauge(
            "console_url_info", "1, with the address at which people reach the console", ["url"], registry=registry
        )
        self.show([EXPORT])
        keys_refused = Counter(
            "console_keys_refused_total",
            f"Requests that were refused for their key, by reason: {', '.join(Reason)}",
            ["reason"],
            registry=registry,
        )
        self.keys_refused: Final = {reason: keys_refused.labels(reason.value) for reason in Reason}
        self.keys_current: Final = Gauge(
            "console_keys_file_current",
            "1 while the keys in force are those of the key file, 0 while that cannot be used; 1 where no keys are asked for",
            registry=registry,
        )
        self.keys_current.set(1)
        self.audit: Final = AuditMetrics(registry, "console")
        certificate_end = Gauge(
            "console_certificate_end_timestamp_seconds",
            "When the first of the process's certificates ends; +Inf if it has none",
            registry=registry,
        )
        certificate_end.set_function(soonest_end)
        cut = Counter(
            "console_connections_cut_total",
            f"Connections that the console ended although the client had not done with them: {', '.join(Cut)}",
            ["reason"],
            registry=registry,
        )
        self.cut: Final = {reason: cut.labels(reason.value) for reason in Cut}
        self.bytes_held: Final = Gauge(
            "console_body_bytes_held", "Bytes of requests that are not answered yet, or not complete", registry=registry
        )

    def show(self, routes: Iterable[str]) -> None:
        """Let these routes have series before they are asked for."""
        for route in routes:
            self.requests.labels(route, "200")
            self.request_duration.labels(route)
            self.rows.labels(route)
