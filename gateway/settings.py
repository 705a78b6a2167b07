"""The gateway's configuration, from `GATEWAY_*` variables."""

from typing import Annotated, Any, Final, Self

from pydantic import AliasChoices, AnyHttpUrl, BeforeValidator, Field, PositiveInt, model_validator
from pydantic_settings import SettingsConfigDict

from shared.event.model import MAX_EVENT_BYTES
from shared.ingest.logs_api import MAX_BATCH_BYTES
from shared.process.bounds import DEFAULT_BYTES, DEFAULT_CONNECTIONS
from shared.process.key_settings import KeySettings
from shared.process.served_settings import PEERS, Port
from shared.process.settings import RegionUrlLists, RegionUrls

# Room for the largest event, whose canonical form is longer than what the client sent.
MIN_QUEUE_BYTES: Final = 2 * MAX_EVENT_BYTES
MIN_BYTES_HELD: Final = 2 * MAX_BATCH_BYTES


def _none(value: Any) -> Any:
    return None if value in ("none", "") else value


class GatewaySettings(KeySettings):
    """Read once at start-up and never changed."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_", frozen=True)

    port: Port = Field(default=8080, description="Port to listen on.")
    peers: str = Field(default="console", description=PEERS)
    regions: RegionUrls = Field(
        description="Producer of each region, the preferred region first: `region-a=http://host:8181,region-b=…`. "
        "Its internal address; from its public one the gateway finds the internal port by itself."
    )
    consumers: RegionUrlLists = Field(
        default_factory=dict,
        description="Consumers of each region, asked about replication: `region-a=http://host:8182,region-b=…`. "
        "Where a region has several, name each by its own address: `region-a=http://one:8182,region-a=http://two:8182`.",
    )
    console: AnyHttpUrl = Field(
        default=AnyHttpUrl("http://127.0.0.1:8085"),
        description="The console, which answers `GET /api/logs…`: `http://host:8085`. Without it these get 503.",
    )
    health_interval_ms: PositiveInt = Field(default=1000, description="Pause between two checks of a region.")
    health_timeout_ms: PositiveInt = Field(default=1000, description="A check without an answer by then has failed.")
    circuit_failures: PositiveInt = Field(
        default=3, description="Failures in a row, of checks or of traffic, that open a region's circuit."
    )
    attempt_timeout_ms: PositiveInt = Field(
        default=5000, description="One request to a producer; longer than the producer's own send timeout."
    )
    deadline_ms: PositiveInt = Field(
        default=15000, description="All attempts for one client request, failover included; then 503."
    )
    shipper_deadline_ms: PositiveInt = Field(
        default=4000,
        description="The same for what log shippers send: they wait no longer, and are held so long before they are refused.",
    )
    elasticsearch_version: str = Field(
        default="9.9.0",
        pattern=r"^\d{1,3}\.\d{1,3}\.\d{1,3}$",
        description="What the gateway calls itself to clients of Elasticsearch; Beats refuse one that is older than they are.",
    )
    backoff_base_ms: PositiveInt = Field(
        default=50, description="Longest pause after the first round of attempts; doubles with each round."
    )
    backoff_max_ms: PositiveInt = Field(default=1000, description="Longest pause after any round of attempts.")
    linger_ms: PositiveInt = Field(
        default=6, description="How long a single post waits so that others can share its request."
    )
    request_max_events: PositiveInt = Field(
        default=1000,
        # Earlier versions had the second name.
        validation_alias=AliasChoices("GATEWAY_REQUEST_MAX_EVENTS", "GATEWAY_BATCH_MAX_EVENTS"),
        description="Events in one request to a producer; `GATEWAY_BATCH_MAX_EVENTS` still means the same.",
    )
    upstream_concurrency: PositiveInt = Field(default=4, description="Requests in flight to one producer.")
    queue_max_events: PositiveInt = Field(
        default=20000, description="Events held for one region, waiting or in flight; beyond, 503."
    )
    queue_max_bytes: PositiveInt = Field(
        default=64 * 1024 * 1024, description="Bytes held for one region, waiting or in flight; beyond, 503."
    )
    max_requests: PositiveInt = Field(
        default=4096, description="Requests to `/api/logs` under way at the same time; beyond, 503."
    )
    max_batch_requests: PositiveInt = Field(
        default=32, description="The same for `/api/logs/batch`, whose bodies are up to 8 MiB each."
    )
    max_shipper_requests: PositiveInt = Field(
        default=64,
        description="The same for each path of the front door; its requests wait for a place before they get 503.",
    )
    stream_spread: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1,
        description="Over how many correlation ids, and so partitions, the gateway spreads one source of records that have none "
        "of their own: each second of it has one of them. Above 1 a source keeps its order only within a second.",
    )
    syslog_port: Annotated[Port | None, BeforeValidator(_none)] = Field(
        default=None, description="Port that takes syslog, over TCP or TLS; `none`: syslog is not taken."
    )
    syslog_tls_cert: str = Field(
        default="", description="File with the certificate of the syslog port, and its chain, in PEM; empty: no TLS."
    )
    syslog_tls_key: str = Field(default="", description="File with the key of that certificate.")
    syslog_tls_ca: str = Field(
        default="",
        description="File with the authorities of clients' certificates; then only clients that have one are taken.",
    )
    syslog_max_connections: PositiveInt = Field(
        default=1000, description="Connections to the syslog port at the same time; beyond, new ones are closed."
    )
    tenants_file: Annotated[str | None, BeforeValidator(_none)] = Field(
        default=None,
        description="File with what tenants may send, `tenants.toml`; it is read again when it changes. `none`: no quotas.",
    )
    count: PositiveInt = Field(
        default=1, description="How many gateways share the quotas of the tenants' file; each takes its part."
    )
    max_body_bytes_held: PositiveInt = Field(
        default=DEFAULT_BYTES,
        description="Bytes of requests held, those that have arrived in part included. Beyond, the one of these that got "
        "nothing for the longest time is let go, and if there is none, the newest: 503.",
    )
    max_connections: PositiveInt = Field(
        default=DEFAULT_CONNECTIONS,
        description="Clients' connections at the same time; beyond, the one that is idle for the longest time is closed.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.regions:
            raise ValueError("regions must name at least one region")
        if unknown := self.consumers.keys() - self.regions.keys():
            raise ValueError(f"consumers names {', '.join(sorted(unknown))}, which regions does not")
        if bool(self.syslog_tls_cert) != bool(self.syslog_tls_key) or (self.syslog_tls_ca and not self.syslog_tls_cert):
            raise ValueError("syslog_tls_cert and syslog_tls_key belong together, and syslog_tls_ca needs both")
        if self.security == "on" and self.syslog_port is not None and not self.syslog_tls_ca:
            raise ValueError(
                "FLEET_SECURITY=on asks all senders who they are, and syslog has no place for a key: give syslog_tls_ca, so that "
                "only senders with a certificate are taken, or syslog_port=none"
            )
        if self.syslog_port in (self.port, self.port_inside):
            raise ValueError("syslog_port must not be the port of another listener")
        if self.request_max_events > self.queue_max_events:
            raise ValueError("request_max_events must not be larger than queue_max_events, or no full request fits")
        if self.queue_max_bytes < MIN_QUEUE_BYTES:
            raise ValueError(f"queue_max_bytes must be at least {MIN_QUEUE_BYTES}, room for the largest single event")
        if self.max_body_bytes_held < MIN_BYTES_HELD:
            raise ValueError(
                f"max_body_bytes_held must be at least {MIN_BYTES_HELD}, room for two of the largest bodies"
            )
        return self
