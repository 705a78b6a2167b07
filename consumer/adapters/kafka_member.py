"""
A member of the region's consumer group: made, assigned its partitions, and closed even when no broker answers.

Where the client library has no public way, its own parts are used here and in `KafkaSource.__init__` alone.
"""

import asyncio
import contextlib

from collections.abc import Callable, Collection
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from consumer.envelope import Partition
from consumer.source import OnAssigned, OnRevoked
from shared.process.kafka_settings import OPEN, Access

# The whole process is one event loop: if it stands still, so do the heartbeats, and the session ends. A second watch, over
# the time between polls, would only throw a healthy consumer out of its group while PostgreSQL is away.
_NO_POLL_LIMIT_MS: Final = 2**31 - 1
# Records that come within this time are read, put in order and stored together, unless they are many. The reorder window is far longer.
# An iteration of the consumer, a transaction and a fetch cost the same for one event as for a handful.
_FETCH_WAIT_MS: Final = 50
_FETCH_MIN_BYTES: Final = 16_384
_POSITION_S: Final = 0.05
_STOP_S: Final = 5


def new_member(bootstrap_servers: str, group: str, client_id: str, access: Access = OPEN) -> AIOKafkaConsumer:
    """Return a member that has not joined yet; which offsets it reads and commits is for its user to say."""
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=group,
        client_id=client_id,
        enable_auto_commit=False,
        auto_offset_reset="none",  # the library must not decide where to read when a position is gone
        max_poll_interval_ms=_NO_POLL_LIMIT_MS,
        session_timeout_ms=10_000,
        heartbeat_interval_ms=2_000,
        rebalance_timeout_ms=15_000,
        fetch_max_wait_ms=_FETCH_WAIT_MS,
        fetch_min_bytes=_FETCH_MIN_BYTES,
        max_partition_fetch_bytes=2 * 1024 * 1024,
        metadata_max_age_ms=30_000,
        **access,
    )


def position_of(member: AIOKafkaConsumer, tp: TopicPartition) -> int | None:
    """Return the offset that is read next, None while there is none."""
    subscription = member._subscription.subscription  # noqa: SLF001 - the public way waits until there is one
    assignment = None if subscription is None else subscription.assignment
    state = None if assignment is None or tp not in assignment.tps else assignment.state_value(tp)
    return None if state is None or not state.has_valid_position else int(state.position)


async def unread_of(member: AIOKafkaConsumer, tp: TopicPartition) -> int | None:
    """Return how many records are unread as far as the last answer says; None where that is unknown."""
    end = member.highwater(tp)
    if end is None:
        return None
    try:
        # Answers at once unless the position is being reset.
        async with asyncio.timeout(_POSITION_S):
            position: int = await member.position(tp)
    except (TimeoutError, IllegalStateError, KafkaError):
        return None
    return max(0, int(end) - position)


async def close(member: AIOKafkaConsumer) -> None:
    """Leave the group and close everything, within a few seconds."""
    # A broker that is away cannot be left; it notices by itself when the session times out.
    with contextlib.suppress(TimeoutError, KafkaError):
        async with asyncio.timeout(_STOP_S):
            await member.stop()
            return
    # That was cut off, and a second call would do nothing: the library closes what holds sockets last.
    coordinator, fetcher = member._coordinator, member._fetcher  # noqa: SLF001
    if coordinator is not None:
        await _end_tasks_of(coordinator)
    for part in (fetcher, member._client):  # noqa: SLF001
        if part is not None:
            with contextlib.suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(_STOP_S):
                    await part.close()


async def _end_tasks_of(coordinator: Any) -> None:
    """End what a coordinator does in the background, when it could not be closed."""
    for name in ("_coordination_task", "_heartbeat_task", "_commit_refresh_task"):
        task = getattr(coordinator, name, None)
        if task is not None and not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class GroupListener(ConsumerRebalanceListener):  # type: ignore[misc]  # the library ships no types
    """
    Passes assignments on in the port's terms.

    Args:
        pause_all: Called first with what was just assigned.
        on_revoked: As the source was given it.
        on_assigned: Likewise.
    """

    def __init__(
        self, pause_all: Callable[[Collection[TopicPartition]], None], on_revoked: OnRevoked, on_assigned: OnAssigned
    ) -> None:
        self._pause_all = pause_all
        self._on_revoked = on_revoked
        self._on_assigned = on_assigned

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Wait until they are released."""
        if revoked:
            await self._on_revoked()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Pass them on; an assignment without partitions matters, too."""
        self._pause_all(assigned)
        self._on_assigned([Partition(*tp) for tp in assigned])
