from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from producer.settings import ProducerSettings
from producer.tests.fakes import FakeKafka
from shared.event.model import ReceivedEvent
from shared.event.sealed import SealedRecord, seal, to_record


@pytest.fixture
def kafka() -> FakeKafka:
    return FakeKafka()


@pytest.fixture
def kafka_away(kafka: FakeKafka) -> None:
    """Kafka cannot be reached from the start. A test names this fixture before those that connect."""
    kafka.reachable = False


@pytest.fixture
def settings() -> ProducerSettings:
    return ProducerSettings(
        region="region-a",
        send_timeout_ms=100,
        max_in_flight_bytes=1_000_000,
        rebuild_after_ms=300,
        check_interval_ms=10,
        check_timeout_ms=50,
        shutdown_timeout_ms=1000,
    )


@pytest.fixture
def event() -> Callable[..., ReceivedEvent]:
    def make(number: int = 0, **fields: Any) -> ReceivedEvent:
        now = datetime(2026, 11, 23, 12, tzinfo=UTC)
        values: dict[str, Any] = {
            "event_id": UUID(int=number),
            "timestamp": now,
            "service_name": "checkout",
            "level": "INFO",
            "message": f"message {number}",
            "correlation_id": "trace-1",
            "attributes": {},
            "received_at": now,
        }
        return ReceivedEvent.model_construct(None, **values | fields)

    return make


@pytest.fixture
def record(event: Callable[..., ReceivedEvent]) -> Callable[..., SealedRecord]:
    return lambda number=0, **fields: to_record(seal(event(number, **fields)), "region-a")
