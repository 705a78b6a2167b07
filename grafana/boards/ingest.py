"""*Ingest*: from a client's post to Kafka's acknowledgement, and which region served it."""

from grafana_foundation_sdk.builders import dashboard as dashboards

from boards.board import add_row, board, regions
from boards.panels import RATE, REGION, UP_OR_DOWN, Drawn, Panel, Prom, buckets, median_and_p99, quantile


def build() -> dashboards.Dashboard:
    """Build the dashboard."""
    built = board("Ingest", "ingest", "Are events taken, in time, and by the region that they are meant for?")
    built.with_variable(regions())
    add_row(built, "What clients see", _clients())
    add_row(built, "Front door", _front_door())
    add_row(built, "Tenants", _tenants())
    add_row(built, "Routing", _routing())
    add_row(built, "Producers", _producers())
    return built


def _clients() -> list[Drawn]:
    return [
        Panel(
            title="Answers",
            description="By HTTP status. 4xx is the client's fault. 503 means that no region acknowledged or a queue was full.",
            unit="reqps",
            queries=[Prom(f"sum by (status) (rate(gateway_requests_total{RATE}))", "{{status}}")],
        ).areas(),
        Panel(
            title="Time to answer",
            description="How many requests took how long, micro-batching, retries and failover included. Two bands: some region is slow.",
            unit="s",
            queries=[buckets("gateway_request_duration_seconds")],
        ).heat(),
        Panel(
            title="Time to answer, against the objective",
            description="Half and 99 of 100 requests took no longer. The line is the objective: 99 of 100 within a second.",
            unit="s",
            queries=median_and_p99("gateway_request_duration_seconds"),
            limits=[(1, "red")],
        ).graph(),
        Panel(
            title="Missed the objective",
            description="Share of requests that took longer than a second or got a 5xx. Above 14.4 % for an hour the month's budget burns in two days.",
            unit="percentunit",
            queries=[
                Prom("gateway:missed_acknowledgement:ratio_rate5m", "5 minutes"),
                Prom("gateway:missed_acknowledgement:ratio_rate1h", "an hour"),
                Prom("gateway:missed_acknowledgement:ratio_rate6h", "6 hours"),
            ],
            limits=[(0.01, "yellow"), (0.144, "red")],
        ).graph(width=12),
        Panel(
            title="Events by what became of them",
            description="In the gateway, by the region that they were meant for.",
            unit="cps",
            queries=[
                Prom(
                    f"sum by (region, outcome) (rate(gateway_events_total{{{REGION}}}{RATE}))", "{{region}} {{outcome}}"
                )
            ],
        ).areas(width=12),
    ]


def _front_door() -> list[Drawn]:
    return [
        Panel(
            title="Records of shippers",
            description="By protocol and what became of them. A request of which some are unavailable is sent again as a whole. "
            "Refused ones are refused for good; there should be none.",
            unit="cps",
            queries=[
                Prom(f"sum by (protocol, outcome) (rate(gateway_records_total{RATE}))", "{{protocol}} {{outcome}}")
            ],
        ).areas(),
        Panel(
            title="Repaired records",
            description="By protocol and what could not be stored as it was sent. Attribute _repaired of the events says the same. "
            "`record` means that the record could not be read at all.",
            unit="cps",
            queries=[Prom(f"sum by (protocol, what) (rate(gateway_repaired_total{RATE}))", "{{protocol}} {{what}}")],
        ).graph(),
        Panel(
            title="Records without time, requests that repeat others",
            description="Records without a time get that of their receipt. Requests that equal an acknowledged one, to the byte, "
            "are taken for its retry: many of them may be equal lines of a client with a coarse clock.",
            unit="cps",
            queries=[
                Prom(
                    f"sum by (protocol) (rate(gateway_records_without_time_total{RATE}))", "{{protocol}} without time"
                ),
                Prom(f"sum by (protocol) (rate(gateway_repeated_requests_total{RATE}))", "{{protocol}} repeated"),
            ],
        ).graph(),
        Panel(
            title="Senders of syslog",
            description="Connections, messages that were read and wait because no region takes them, and messages that were lost "
            "when a gateway ended: syslog's senders are not told of these. Where syslog is not taken, there is nothing.",
            unit="none",
            queries=[
                Prom("gateway_syslog_connections", "connections {{instance}}"),
                Prom("gateway_syslog_waiting_messages", "wait {{instance}}"),
                Prom("gateway_syslog_lost_total", "lost {{instance}}"),
            ],
        ).graph(),
    ]


def _tenants() -> list[Drawn]:
    none = " or vector(0)"
    return [
        Panel(
            title="Tenants",
            description="Events taken from tenants with quotas. Without a tenants' file there are none.",
            unit="cps",
            queries=[Prom(f"sum by (tenant) (rate(gateway_tenant_events_total{RATE})){none}", "{{tenant}}")],
        ).areas(width=6),
        Panel(
            title="Bytes of tenants",
            description="Bodies after decompression, of tenants with quotas.",
            unit="Bps",
            queries=[Prom(f"sum by (tenant) (rate(gateway_tenant_bytes_total{RATE})){none}", "{{tenant}}")],
        ).areas(width=6),
        Panel(
            title="Refused for a quota",
            description="Requests that got 429, by the quota that was spent. Nothing of them was sent on.",
            unit="reqps",
            queries=[
                Prom(f"sum by (tenant, quota) (rate(gateway_quota_refused_total{RATE})){none}", "{{tenant}} {{quota}}")
            ],
        ).graph(width=6),
        Panel(
            title="Held for a quota",
            description="How many requests of log shippers and connections of syslog waited for their tenant's quota, on average. "
            "Beside them: records that are older, or further in the future, than the quota says; they are stored.",
            unit="short",
            queries=[
                Prom(f"sum by (tenant) (rate(gateway_quota_waited_seconds_total{RATE})){none}", "{{tenant}} held"),
                Prom(
                    f"sum by (tenant) (rate(gateway_records_outside_ages_total{RATE})){none}",
                    "{{tenant}} outside of ages",
                ),
            ],
        ).graph(width=6),
    ]


def _routing() -> list[Drawn]:
    return [
        Panel(
            title="Circuits",
            description="Whether the gateway sends to the region. Checks or traffic that fail in a row open the circuit, a trial closes it.",
            unit="none",
            queries=[Prom(f"gateway_region_up{{{REGION}}}", "{{region}} {{instance}}")],
        ).states({"0": ("open", "red"), "1": ("closed", "green")}, width=8),
        Panel(
            title="Failovers",
            description="Events that another region acknowledged than the one they were meant for. Zero in quiet times.",
            unit="cps",
            queries=[
                Prom(
                    f'sum by (from_region, to_region) (rate(gateway_routing_fallbacks_total{{from_region=~"$region"}}{RATE}))',
                    "{{from_region}} → {{to_region}}",
                )
            ],
        ).graph(),
        Panel(
            title="Waiting in the gateway",
            description="Events that wait for or are in a request to a region. At the limit clients get 503 with Retry-After.",
            unit="short",
            queries=[Prom(f"gateway_queue_events{{{REGION}}}", "{{region}}")],
        ).graph(),
        Panel(
            title="Events in one request to a producer",
            description="Single posts share one. More under load is as it should be; one at high rates means that nothing is shared.",
            unit="short",
            queries=[
                Prom(
                    f"sum by (region) (rate(gateway_upstream_batch_events_sum{{{REGION}}}{RATE}))"
                    f" / (sum by (region) (rate(gateway_upstream_batch_events_count{{{REGION}}}{RATE})) > 0)",
                    "{{region}} on average",
                ),
                Prom(quantile(0.99, "gateway_upstream_batch_events", REGION, "region"), "{{region}} p99"),
            ],
        ).graph(width=12),
        Panel(
            title="Held for clients",
            description="Bytes of requests that are not answered yet, or not complete. At the limit the incomplete one that "
            "received nothing for the longest time gets 503.",
            unit="bytes",
            queries=[
                Prom("gateway_body_bytes_held", "gateway {{instance}}"),
                Prom(f"log_producer_body_bytes_held{{{REGION}}}", "{{region}} {{instance}}"),
            ],
        ).graph(width=12),
        Panel(
            title="Connections ended",
            description="Of clients that had not done with them: too slow with headers, body or answer, or more of them, or "
            "more bytes, than may be held; or refused, by TLS or as another service. Zero in quiet times.",
            unit="cps",
            queries=[
                Prom(f"sum by (reason) (rate(gateway_connections_cut_total{RATE}))", "{{reason}}, gateway"),
                Prom(
                    f"sum by (region, reason) (rate(log_producer_connections_cut_total{{{REGION}}}{RATE}))",
                    "{{reason}}, {{region}}",
                ),
                Prom(
                    f"sum by (region, reason) (rate(consumer_connections_cut_total{{{REGION}}}{RATE}))",
                    "{{reason}}, consumer of {{region}}",
                ),
            ],
        ).graph(width=12),
        Panel(
            title="Requests without a good key",
            description="Refused by gateway and console, a second, by reason. Empty while the fleet asks for no keys.",
            unit="reqps",
            queries=[
                Prom(f"sum by (reason) (rate(gateway_keys_refused_total{RATE}))", "{{reason}}, gateway"),
                Prom(f"sum by (reason) (rate(console_keys_refused_total{RATE}))", "{{reason}}, console"),
            ],
            limits=[(1, "yellow")],
        ).graph(width=12),
        Panel(
            title="Audit log",
            description="Lines a second that gateway and console write to their audit logs, and acts that have none because the disk "
            "took nothing for long. Empty while the fleet asks for no keys.",
            unit="cps",
            queries=[
                Prom(f"sum by (job) (rate({{__name__=~'(gateway|console)_audit_lines_total'}}{RATE}))", "{{job}}"),
                Prom(f"sum by (job) (rate({{__name__=~'(gateway|console)_audit_lost_total'}}{RATE}))", "lost, {{job}}"),
            ],
        ).graph(width=12),
        Panel(
            title="Until a certificate ends",
            description="By service, of the first of its certificates that ends. Infinite in a fleet without any. A start renews "
            "what ends within 30 days.",
            unit="s",
            queries=[
                Prom(f"min by (job) ({service}_certificate_end_timestamp_seconds) - time()", "{{job}}")
                for service in ("gateway", "console", "log_producer", "consumer")
            ],
        ).graph(width=12),
        Panel(
            title="Gateways",
            description="Whether each answers Prometheus.",
            unit="none",
            queries=[Prom('up{job=~"gateway|producer"}', "{{job}} {{instance}}")],
        ).states(UP_OR_DOWN),
    ]


def _producers() -> list[Drawn]:
    return [
        Panel(
            title="Time to acknowledgement",
            description="How long Kafka takes to acknowledge a group of events with acks=all.",
            unit="s",
            queries=[buckets("log_producer_send_duration_seconds", REGION)],
        ).heat(),
        Panel(
            title="Time to acknowledgement, by region",
            description="Half and 99 of 100 groups took no longer.",
            unit="s",
            queries=median_and_p99("log_producer_send_duration_seconds", REGION, "region"),
            limits=[(1, "red")],
        ).graph(),
        Panel(
            title="Not acknowledged",
            description="Events a second by why not: Kafka is too slow (timeout), away (error), or has too much to do (overload).",
            unit="cps",
            queries=[
                Prom(
                    f'sum by (region, outcome) (rate(log_producer_send_total{{{REGION}, outcome!="acknowledged"}}{RATE}))',
                    "{{region}} {{outcome}}",
                )
            ],
        ).areas(),
        Panel(
            title="Under way to Kafka",
            description="Bytes in flight: sent to Kafka and not yet acknowledged. At the limit the producer answers 503.",
            unit="bytes",
            queries=[Prom(f"log_producer_in_flight_bytes{{{REGION}}}", "{{region}}")],
        ).graph(width=12),
        Panel(
            title="Kafka clients replaced in the last hour",
            description="Clients that stayed broken after an outage. Each is one outage; more without one is a fault of ours.",
            unit="short",
            queries=[Prom(f"increase(log_producer_client_rebuilds_total{{{REGION}}}[1h])", "{{region}}")],
            limits=[(1, "yellow")],
        ).graph(width=12),
    ]
