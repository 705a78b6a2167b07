"""The console's configuration, from `CONSOLE_*` variables."""

from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, AnyHttpUrl, Field, NonNegativeInt, PositiveInt
from pydantic_settings import SettingsConfigDict

from shared.process.key_settings import KeySettings
from shared.process.listeners import MAX_PORT
from shared.process.served_settings import PEERS, Port
from shared.process.settings import RegionUrlLists, secret, with_password

NO_URL: Final = "none"


def _address(value: str) -> str:
    """Return it without a slash at its end. It becomes part of links, in dashboards and in alerts."""
    parts = urlsplit(value)
    is_plain = value.isascii() and value.isprintable() and not set(value) & set(" \"'<>\\")
    if value != NO_URL and not (is_plain and parts.scheme in {"http", "https"} and parts.hostname):
        raise ValueError("it has to be an address like https://logs.example.org or none")
    if parts.query or parts.fragment:
        raise ValueError("it has to end with its path, without ? and #")
    return value.rstrip("/")


class ConsoleSettings(KeySettings):
    """Read once at start-up and never changed."""

    model_config = SettingsConfigDict(env_prefix="CONSOLE_", frozen=True)

    port: Port = Field(default=8085, description="Port to listen on.")
    url: Annotated[str, AfterValidator(_address)] = Field(
        default=NO_URL,
        validation_alias="APP_CONSOLE_URL",
        description="Where people reach the console: links from alerts and dashboards lead there. `none`: its port on 127.0.0.1.",
    )
    published_port: int = Field(
        default=0, ge=0, le=MAX_PORT, description="Its port on 127.0.0.1, where that is not the one that it listens on."
    )
    peers: str = Field(default="gateway", description=PEERS)
    postgres_dsn: str = secret(
        "postgresql://logs_api@127.0.0.1:5432/logs", description="PostgreSQL, as a URL; its user needs to read only."
    )
    postgres_password: str = secret("", description="Of the user that `CONSOLE_POSTGRES_DSN` names.")
    gateway: AnyHttpUrl = Field(
        default=AnyHttpUrl("http://127.0.0.1:8080"),
        description="The gateway, asked about replication for the pages: `http://host:8080`.",
    )
    prometheus: AnyHttpUrl = Field(
        default=AnyHttpUrl("http://127.0.0.1:9090"),
        description="Prometheus, asked about the past of replication for the pages: `http://host:9090`.",
    )
    consumers: RegionUrlLists = Field(
        default_factory=dict,
        description="Consumers of each region, asked where an event is in its Kafka: `region-a=http://host:8182,region-b=…`. "
        "Where a region has several, name each by its own address; the first that answers is asked.",
    )
    connections: PositiveInt = Field(
        default=6, description="Connections to PostgreSQL for searches and exports; beyond, 429 after a second."
    )
    searches_a_caller: PositiveInt = Field(
        default=3, description="Searches of one client's address at the same time; beyond, 429 after a second."
    )
    exports_a_caller: PositiveInt = Field(
        default=1, description="Exports of one client's address at the same time; beyond, 429."
    )
    exports: PositiveInt = Field(default=4, description="Exports of all clients at the same time; beyond, 429.")
    query_seconds_a_minute: NonNegativeInt = Field(
        default=20,
        description="Seconds a minute that PostgreSQL may work for searches of one client's address; beyond, 429. `0`: no limit.",
    )

    tails: PositiveInt = Field(default=100, description="Tails of all clients at the same time; beyond, 429.")
    tails_a_caller: PositiveInt = Field(
        default=10, description="Tails of one client's address at the same time; beyond, 429."
    )

    @property
    def for_people(self) -> str:
        """Where people reach it."""
        if self.url != NO_URL:
            return self.url
        return f"{'https' if self.tls_cert_file else 'http'}://127.0.0.1:{self.published_port or self.port}"

    @property
    def store(self) -> str:
        """PostgreSQL as a URL that has its password."""
        return with_password(self.postgres_dsn, self.postgres_password)
