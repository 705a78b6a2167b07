"""The consumer put together from its settings: which adapter is behind which port, and what is exported from the start."""

import time

from collections.abc import Callable
from functools import partial
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from consumer.adapters.archive_process import ArchiveProcess
from consumer.adapters.kafka_dead_letters import KafkaDeadLetters
from consumer.adapters.kafka_source import KafkaSource
from consumer.adapters.postgres_days import DayMaker, PostgresDays
from consumer.adapters.postgres_retention import DayDropper, PostgresRetention
from consumer.adapters.postgres_store import PostgresStore
from consumer.adapters.redis_seen import RedisSeenIds
from consumer.adapters.store_thread import StoreThread
from consumer.bloom import RotatingBloom
from consumer.days import RETENTION, Days
from consumer.doubts import Doubts
from consumer.failpoints import failpoint
from consumer.memory import REDIS
from consumer.metrics import ConsumerMetrics
from consumer.orders import Orders
from consumer.outages import Outages
from consumer.ports import EventStore
from consumer.service import ConsumerService
from consumer.session import Session
from consumer.settings import ConsumerSettings
from consumer.source import OnAssigned, OnRevoked, Source
from consumer.surroundings import Limits, Ports, Surroundings
from consumer.takeover import Takeover
from consumer.traced import TracedStore
from consumer.tuning import HELD, ORDERED, PATIENCE_US
from shared.process.spans import Spans
from shared.wire.regions import consumed_topics


def assemble(settings: ConsumerSettings, metrics: ConsumerMetrics, spans: Spans | None = None) -> ConsumerService:
    """
    Put a consumer together; nothing is connected before it runs.

    Args:
        settings: The consumer's.
        metrics: Where to count.
        spans: Where spans of traced events go.
    """
    region, outages, now_us = settings.region, Outages(), steady_clock()
    doubts = Doubts(metrics)
    arrive = failpoint(settings.failpoint)
    around = Surroundings(region, outages, metrics, doubts, now_us, arrive=arrive)
    store = StoreThread(
        PostgresStore(
            settings.store,
            region=region,
            instance=settings.instance,
            group=settings.group,
            timeout_s=settings.store_timeout_ms / 1000,
            arrive=arrive,
        )
    )
    rows: EventStore = store if spans is None else TracedStore(store, spans, region)
    redis = _redis(settings)
    seen = RedisSeenIds(redis, ttl_s=settings.redis_ttl_hours * 3600)
    dead_letters = KafkaDeadLetters(settings.kafka_bootstrap_servers, timeout_s=10, access=settings.kafka_access)
    bloom = RotatingBloom(settings.bloom_expected_insertions, settings.bloom_false_positive_rate)
    takeover = Takeover(
        Ports(rows, seen, dead_letters, bloom),
        Limits(settings.batch_max_events, settings.buffer_max_bytes),
        around,
        make_buffer=partial(
            Orders,
            region=region,
            window_us=settings.reorder_window_ms * 1000,
            max_future_us=settings.reorder_max_future_ms * 1000,
            max_events=settings.buffer_max_events,
            max_bytes=settings.buffer_max_bytes * ORDERED // HELD,
            patience_us=PATIENCE_US,
        ),
    )
    session = Session(
        partial(_connect, settings, now_us),
        takeover,
        around,
        drain_s=settings.drain_timeout_ms / 1000,
        on_end=metrics.show_nothing,
    )
    service = ConsumerService(
        region, session, _days(settings, metrics, outages), outages, [dead_letters.close, store.close, redis.aclose]
    )
    metrics.buffer_limit.set(settings.buffer_max_events)
    metrics.follow(lambda: service.readiness().ready, lambda: bool(outages.among(REDIS)))
    return service


def steady_clock() -> Callable[[], int]:
    """Return a clock in microseconds since 1970 that does not follow steps of the system's."""
    start_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000
    return lambda: start_us + time.monotonic_ns() // 1000


def _connect(
    settings: ConsumerSettings, now_us: Callable[[], int], on_revoked: OnRevoked, on_assigned: OnAssigned
) -> Source:
    return KafkaSource(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group=settings.group,
        client_id=f"log-consumer-{settings.region}-{settings.instance}",
        topics=consumed_topics(settings.region, settings.regions),
        now_us=now_us,
        on_revoked=on_revoked,
        on_assigned=on_assigned,
        access=settings.kafka_access,
    )


def _redis(settings: ConsumerSettings) -> "Redis":
    timeout_s = settings.redis_timeout_ms / 1000
    return Redis.from_url(
        settings.cache,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),  # the adapter decides when to ask again
        client_name=f"log-consumer-{settings.region}",
    )


def _days(settings: ConsumerSettings, metrics: ConsumerMetrics, outages: Outages) -> list[Days]:
    name = f"{settings.region}/{settings.instance}"
    keep = settings.retention_days
    # A day that would be dropped at once is not made: what comes so late stays in the default partition.
    back = min(settings.partition_days_back, keep) if keep else settings.partition_days_back
    days = [
        Days(
            PostgresDays(settings.store, name=name, maker=DayMaker(back, settings.partition_days_ahead)),
            outages,
            metrics.days_missing,
        )
    ]
    if keep:
        folder = settings.archive_dir
        archive = None if folder == "none" else ArchiveProcess(Path(folder), settings.store)
        days.append(
            Days(
                PostgresRetention(settings.store, name=name, dropper=DayDropper(keep, archive)),
                outages,
                metrics.days_overdue,
                task=RETENTION,
                said="still there:",
            )
        )
    return days
