"""The producer's configuration, from `PRODUCER_*` variables."""

from typing import Final

from pydantic import Field, PositiveInt
from pydantic_settings import SettingsConfigDict

from shared.process.bounds import DEFAULT_BYTES
from shared.process.kafka_settings import KafkaSettings
from shared.process.served_settings import PEERS, Port, ServedSettings
from shared.wire.handoff import MAX_BODY_BYTES, MAX_EVENTS
from shared.wire.regions import Region

# Room for two of the largest requests that a gateway makes.
MIN_BYTES_HELD: Final = 2 * MAX_BODY_BYTES


class ProducerSettings(ServedSettings, KafkaSettings):
    """Read once at start-up and never changed."""

    model_config = SettingsConfigDict(env_prefix="PRODUCER_", frozen=True)

    port: Port = Field(default=8081, description="Port to listen on.")
    peers: str = Field(default="gateway", description=PEERS)
    region: Region = Field(description="The region this producer writes for.")
    send_timeout_ms: PositiveInt = Field(
        default=4000, description="Events Kafka has not acknowledged by then are answered with 503."
    )
    max_in_flight_bytes: PositiveInt = Field(
        default=64 * 1024 * 1024, description="Bytes handed to Kafka and not acknowledged; beyond, 503."
    )
    max_body_bytes_held: int = Field(
        default=DEFAULT_BYTES,
        ge=MIN_BYTES_HELD,
        description="Bytes of requests held, those that have arrived in part included. Beyond, the one of these that got "
        "nothing for the longest time is let go, and if there is none, the newest: 503.",
    )
    max_requests: PositiveInt = Field(
        default=4096, description="Requests to `/api/logs` under way at the same time; beyond, 503."
    )
    max_batch_requests: PositiveInt = Field(
        default=32, description="The same for `/api/logs/batch`, whose bodies are up to 8 MiB each."
    )
    max_handoffs: PositiveInt = Field(
        default=256, description="Requests of gateways under way at the same time; beyond, 503."
    )
    handoff_max_events: PositiveInt = Field(
        default=MAX_EVENTS,
        description="Events in one request of a gateway; beyond, 413. Not less than any `GATEWAY_REQUEST_MAX_EVENTS`.",
    )
    rebuild_after_ms: PositiveInt = Field(
        default=15000, description="A Kafka client that acknowledged nothing for so long although asked is replaced."
    )
    check_interval_ms: PositiveInt = Field(default=500, description="Pause between two checks of Kafka.")
    check_timeout_ms: PositiveInt = Field(
        default=1000, description="A check without an answer by then has failed: not ready."
    )
    shutdown_timeout_ms: PositiveInt = Field(
        default=6000,
        description="On SIGTERM: time for requests in flight, and again for records that Kafka has not acknowledged.",
    )
