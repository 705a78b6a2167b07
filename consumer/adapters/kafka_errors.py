"""The client library's errors as the ports' own."""

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaError

from consumer.ports import SourceUnavailableError


@contextmanager
def as_source_unavailable() -> Iterator[None]:
    """Raise `SourceUnavailableError` for whatever Kafka or its client says."""
    try:
        yield
    except KafkaError as exc:
        raise SourceUnavailableError(str(exc)) from exc
