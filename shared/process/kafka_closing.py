"""
How to close a Kafka client that writes, also while Kafka is away.

The library's own `stop` first waits until everything is acknowledged, which an idempotent client retries for ever. It closes
its sockets last. A cancelled `stop` leaks them, and a task that goes on sending; a second call does nothing.
"""

import asyncio

from contextlib import suppress
from typing import Any, Final

import structlog

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerClosed

log: Final = structlog.stdlib.get_logger(__name__)


async def close_producer(producer: AIOKafkaProducer, *, flush_s: float, timeout_s: float) -> None:
    """
    Close all connections; what is not acknowledged by then fails. Does not raise.

    Args:
        producer: Started, or failed to start.
        flush_s: How long to wait for acknowledgements.
        timeout_s: How long each of the steps after that may take.
    """
    # The library has no public call for this: end the task that sends, then fail the batches that remain.
    sender, accumulator = producer._sender, producer._message_accumulator  # noqa: SLF001
    if flush_s and sender.sender_task is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(flush_s):
                await producer.flush()
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await sender.close()
        _fail_all(accumulator)
        try:
            async with asyncio.timeout(timeout_s):
                await producer.stop()
        except TimeoutError:
            async with asyncio.timeout(timeout_s):
                await producer.client.close()
            raise
    except (KafkaError, TimeoutError) as exc:
        log.warning("kafka client did not close cleanly", error=repr(exc))


def _fail_all(accumulator: Any) -> None:
    queued = [batch for batches in accumulator._batches.values() for batch in batches]  # noqa: SLF001
    # A batch that waits for a retry was taken out of this set, and the callback of its end expects it there.
    accumulator._pending_batches.update(batch for batch in queued if batch.retry_count)  # noqa: SLF001
    accumulator.fail_all(ProducerClosed())
    for batch in queued:
        # No task awaits these, and asyncio would log an exception that was never retrieved.
        batch._drain_waiter.exception()  # noqa: SLF001
