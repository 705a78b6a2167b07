"""Every metric of the gateway, defined once: dashboards, rules and tests take the names from here."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from shared.access.keys import Reason
from shared.process.audit_metrics import AuditMetrics
from shared.process.bounds import Cut
from shared.process.metrics import BATCH_BUCKETS, LATENCY_BUCKETS
from shared.process.tls import soonest_end


class TenantTotals(Collector):
    """
    What tenants with quotas sent. It is asked when it is exported, since a counter costs more than all the rest of a quota.

    Attributes:
        of: Returns events and bytes by tenant.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.of: Callable[[], Mapping[str, tuple[int, int]]] = dict
        registry.register(self)

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return what is exported."""
        events = CounterMetricFamily(
            "gateway_tenant_events", "Events taken from tenants with quotas", labels=["tenant"]
        )
        size = CounterMetricFamily(
            "gateway_tenant_bytes", "Bytes of bodies, decompressed, taken from tenants with quotas", labels=["tenant"]
        )
        for tenant, (some, some_bytes) in self.of().items():
            events.add_metric([tenant], some)
            size.add_metric([tenant], some_bytes)
        return [events, size]


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
        self.reads = Counter(
            "gateway_reads_total",
            "Requests that were passed on to the console, by HTTP status; none: the client went away before",
            ["status"],
            registry=registry,
        )
        self.reads.labels("200")
        keys_refused = Counter(
            "gateway_keys_refused_total",
            f"Requests that were refused for their key, by reason: {', '.join(Reason)}",
            ["reason"],
            registry=registry,
        )
        self.keys_refused = {reason: keys_refused.labels(reason.value) for reason in Reason}
        self.keys_current = Gauge(
            "gateway_keys_file_current",
            "1 while the keys in force are those of the key file, 0 while that cannot be used; 1 where no keys are asked for",
            registry=registry,
        )
        self.keys_current.set(1)
        self.audit = AuditMetrics(registry, "gateway")
        certificate_end = Gauge(
            "gateway_certificate_end_timestamp_seconds",
            "When the first of the process's certificates ends; +Inf if it has none",
            registry=registry,
        )
        certificate_end.set_function(soonest_end)
        cut = Counter(
            "gateway_connections_cut_total",
            f"Connections that the gateway ended although the client had not done with them: {', '.join(Cut)}",
            ["reason"],
            registry=registry,
        )
        self.cut = {reason: cut.labels(reason.value) for reason in Cut}
        self.bytes_held = Gauge(
            "gateway_body_bytes_held", "Bytes of requests that are not answered yet, or not complete", registry=registry
        )
        self.events = Counter(
            "gateway_events_total", "Events by their final outcome", ["region", "outcome"], registry=registry
        )
        protocol = ["protocol"]
        self.records = Counter(
            "gateway_records_total",
            "Records that log shippers sent, by their final outcome: accepted, refused, unavailable",
            ["protocol", "outcome"],
            registry=registry,
        )
        self.repaired = Counter(
            "gateway_repaired_total",
            "Records of log shippers that could not be stored as they were sent, by what was repaired",
            ["protocol", "what"],
            registry=registry,
        )
        self.untimed = Counter(
            "gateway_records_without_time_total",
            "Records of log shippers without a time of their own, which got that of their receipt",
            protocol,
            registry=registry,
        )
        self.repeated = Counter(
            "gateway_repeated_requests_total",
            "Requests of log shippers that equal, to the byte, one that was acknowledged in the last ten minutes",
            protocol,
            registry=registry,
        )
        self.syslog_connections = Gauge(
            "gateway_syslog_connections", "Connections of senders of syslog, now", registry=registry
        )
        self.syslog_waiting = Gauge(
            "gateway_syslog_waiting_messages",
            "Messages of syslog that were read and tried, and that no region has taken yet: lost if the gateway ends now",
            registry=registry,
        )
        self.syslog_lost = Counter(
            "gateway_syslog_lost_total",
            "Messages of syslog that were read, and not acknowledged by a region before the gateway ended",
            registry=registry,
        )
        tenant = ["tenant"]
        self.tenant_totals = TenantTotals(registry)
        self.quota_refused = Counter(
            "gateway_quota_refused_total",
            "Requests that were answered with 429, by the quota that was spent: requests, events, bytes, day",
            ["tenant", "quota"],
            registry=registry,
        )
        self.quota_waited = Counter(
            "gateway_quota_waited_seconds_total",
            "For how long requests of log shippers, and connections of syslog, were held for a tenant's quota",
            tenant,
            registry=registry,
        )
        self.tenants_file_in_force = Gauge(
            "gateway_tenants_file_in_force",
            "1 while what the tenants' file says is in force, or there is no such file; 0 while it cannot be used",
            registry=registry,
        )
        self.tenants_file_in_force.set(1)
        self.outside_ages = Counter(
            "gateway_records_outside_ages_total",
            "Records of log shippers that are older, or further in the future, than their tenant's quota says; they are stored",
            tenant,
            registry=registry,
        )
        self.fallbacks = Counter(
            "gateway_routing_fallbacks_total",
            "Events that were meant for one region and acknowledged by another",
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
            "gateway_queue_events",
            "Events waiting for a request to a producer, or in flight",
            ["region"],
            registry=registry,
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
            "Partitions whose events are not copied while other partitions' are",
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
            "Events in the source and not in the target, by the last observations of both",
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
            "Events that the source lost, or MirrorMaker skipped, before they were copied",
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
            "Partitions of the source that were created anew, or truncated below MirrorMaker's position",
            link,
            registry=registry,
        )
