"""The consumer's configuration, from `CONSUMER_*` variables and the four documented `APP_*` ones."""

import socket

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt
from pydantic_settings import SettingsConfigDict

from consumer.failpoints import failpoint
from shared.process.kafka_settings import KafkaSettings
from shared.process.served_settings import PEERS, Port, ServedSettings
from shared.process.settings import RegionList, secret, with_password
from shared.wire.regions import Region


def _known(wanted: str) -> str:
    failpoint(wanted)
    return wanted


def _usable_folder(wanted: str) -> str:
    if wanted == "none":
        return wanted
    # Whether it is there shows when it is needed: a disk that is missing is no reason to store nothing.
    if not Path(wanted).is_absolute():
        raise ValueError("must be `none`, or the absolute path of a folder, like /var/archives")
    if find_spec("pyarrow") is None:
        raise ValueError("needs the packages of the extra `archive`: pip install .[archive]")
    return wanted


class ConsumerSettings(ServedSettings, KafkaSettings):
    """Read once at start-up; never mutated."""

    model_config = SettingsConfigDict(env_prefix="CONSUMER_", frozen=True)

    reorder_window_ms: PositiveInt = Field(
        default=1000,
        validation_alias="APP_REORDER_WINDOW_MS",
        description="How much later than a newer one an event may arrive and still be put in order.",
    )
    reorder_max_future_ms: NonNegativeInt = Field(
        default=60000,
        validation_alias="APP_REORDER_MAX_FUTURE_MS",
        description="An event further ahead than this of two of the gateway's, broker's and consumer's clocks is stored at once as `clock_skew` and moves no watermark.",
    )
    bloom_expected_insertions: PositiveInt = Field(
        default=1_000_000,
        validation_alias="APP_DEDUP_BLOOM_EXPECTED_INSERTIONS",
        description="Ids in one generation of the bloom filter; two generations are kept.",
    )
    bloom_false_positive_rate: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.0001,
        validation_alias="APP_DEDUP_BLOOM_FALSE_POSITIVE_RATE",
        description="Share of new ids for which Redis is asked in vain.",
    )
    redis_ttl_hours: PositiveInt = Field(
        default=24, validation_alias="APP_DEDUP_REDIS_TTL_HOURS", description="How long Redis remembers an id."
    )

    retention_days: NonNegativeInt = Field(
        default=0,
        validation_alias="APP_RETENTION_DAYS",
        description="Days (UTC) before today that are kept; older ones are dropped. `0` keeps all. What is older when it comes is kept in `logs_default`.",
    )
    archive_dir: Annotated[str, AfterValidator(_usable_folder)] = Field(
        default="none",
        validation_alias="APP_ARCHIVE_DIR",
        description="Folder, as an absolute path, that a day is put into as a Parquet file before retention drops it; `none` drops without.",
    )

    peers: str = Field(default="gateway,console", description=PEERS)
    port: Port = Field(default=8082, description="Port to listen on.")
    region: Region = Field(description="The region whose Kafka this consumer reads.")
    regions: RegionList = Field(description="All regions, this one included: `region-a,region-b`.")
    instance: str = Field(
        default_factory=socket.gethostname, description="Name of this process in `stored_by`; unique in its region."
    )
    group: str = Field(
        default="log-consumer", description="Kafka consumer group; consumers that share it share the work."
    )
    postgres_dsn: str = secret("postgresql://logs:logs@127.0.0.1:5432/logs", description="PostgreSQL, as a URL.")
    postgres_password: str = secret("", description="Of the user that `CONSUMER_POSTGRES_DSN` names.")
    redis_url: str = secret("redis://127.0.0.1:6379/0", description="Redis, as a URL.")
    redis_password: str = secret("", description="Of the user that `CONSUMER_REDIS_URL` names.")
    redis_timeout_ms: PositiveInt = Field(
        default=1000, description="A call to Redis without an answer by then counts as Redis gone."
    )
    batch_max_events: PositiveInt = Field(default=10000, description="Events in one transaction.")
    buffer_max_events: PositiveInt = Field(
        default=50000, description="Events the reorder buffer holds before partitions that are ahead are paused."
    )
    buffer_max_bytes: PositiveInt = Field(
        default=128 * 1024 * 1024,
        description="Bytes of events a consumer holds, from reading to the last cache, each as read and as a row; 25 % more at most, and nothing is read meanwhile.",
    )
    store_timeout_ms: PositiveInt = Field(
        default=30000, description="A transaction without an answer by then is given up and tried again."
    )
    drain_timeout_ms: PositiveInt = Field(
        default=8000, description="On SIGTERM or rebalance: time for the batch under way, its commit and the release."
    )
    partition_days_back: PositiveInt = Field(
        default=31, description="Older days have no table partition of their own; their events go to the default one."
    )
    partition_days_ahead: PositiveInt = Field(default=2, description="The same for days to come.")
    failpoint: Annotated[str, AfterValidator(_known)] = Field(
        default="none",
        description="For tests: where the process kills itself, `NAME` or `NAME:N`; the names are in `consumer/failpoints.py`.",
    )

    @property
    def store(self) -> str:
        """PostgreSQL as a URL that has its password."""
        return with_password(self.postgres_dsn, self.postgres_password)

    @property
    def cache(self) -> str:
        """Redis as a URL that has its password."""
        return with_password(self.redis_url, self.redis_password)
