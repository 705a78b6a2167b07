"""
The port of what is read: one member of a consumer group in the region's Kafka, with the partitions that it is assigned.

`consumer/adapters/kafka_source.py` is the real one; simulations read logs in memory (`consumer/tests/simulation.py`).
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

from consumer.beginnings import Finding, Log
from consumer.decode import Record
from consumer.envelope import Partition
from consumer.ports import KnownLog


class Source(Protocol):
    """
    What is read, from `start` to `stop`.

    Partitions are assigned and revoked meanwhile; the source makes the two calls for it that it was made with. Assigned
    partitions are not read until `begin`.
    """

    @property
    def missing(self) -> frozenset[Partition]:
        """Assigned partitions that could not be begun: they have no leader, or it is away."""
        ...

    @property
    def found(self) -> bool:
        """Whether one of the missing can be begun by now."""
        ...

    @property
    def doubts(self) -> Collection[Partition]:
        """The partitions whose log may not be the one that was read."""
        ...

    @property
    def ends(self) -> Mapping[Partition, int]:
        """How far the partitions are known to reach at any moment, until they begin anew."""
        ...

    async def start(self) -> None:
        """
        Connect and join the group.

        Raises:
            SourceUnavailableError: Kafka cannot be reached.
        """
        ...

    async def stop(self) -> None:
        """Leave the group and close everything; nothing is revoked by it."""
        ...

    async def look(self, known: Mapping[Partition, KnownLog]) -> Mapping[Partition, Log]:
        """
        Look at assigned partitions, and ask what the group committed; those that cannot be looked at are left out.

        Raises:
            SourceUnavailableError: Kafka did not say.
        """
        ...

    def begin(
        self, starts: Mapping[Partition, int], known: Mapping[Partition, KnownLog], missing: Collection[Partition] = ()
    ) -> None:
        """
        Start to read assigned partitions at the given offsets.

        Args:
            starts: The offsets.
            known: By what each log is known again until something of it has been read.
            missing: Partitions to look for from now on; `found` says when to begin anew with them.

        Raises:
            SourceUnavailableError: They are not assigned any more.
        """
        ...

    async def poll(self, shares: Mapping[Partition, int], timeout_s: float) -> Mapping[Partition, Sequence[Record]]:
        """
        Return what was read since the last call; waits for `timeout_s` at most if that is nothing.

        Args:
            shares: How many records of each partition at most.
            timeout_s: In seconds.

        Raises:
            SourceUnavailableError: The group or the cluster refuses this consumer.
        """
        ...

    async def known_empty(self) -> Mapping[Partition, int]:
        """Return the partitions with nothing unread, each with the time until which that is proven; each proof once."""
        ...

    def pause_only(self, partitions: Collection[Partition]) -> None:
        """Pause these partitions and let all others run that are not doubted, and have begun."""
        ...

    def findings(self) -> Mapping[Partition, Finding]:
        """Return what is known about the partitions that are doubted; they are not read until `go_on`."""
        ...

    def go_on(self, partition: Partition, position: int, end: int) -> None:
        """Read a doubted partition again, from `position` on: its log is the one that was read, and reaches so far."""
        ...

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """
        Commit offsets; False if the group has moved on, which is harmless: its next owner asks the store.

        Raises:
            SourceUnavailableError: Whether they are committed is unknown.
        """
        ...

    async def ask_ends(self, partitions: Collection[Partition], timeout_s: float) -> Mapping[Partition, int]:
        """Return the end offsets as the broker says at this moment, nothing if it does not say."""
        ...

    def silence_s(self, limit_s: float) -> float:
        """Return for how long the broker has answered no fetch, in seconds; 0 unless it was longer than `limit_s`."""
        ...

    def silent(self, limit_s: float) -> Collection[Partition]:
        """Return the partitions that should be read and for which no broker has answered for longer than `limit_s`."""
        ...


OnRevoked = Callable[[], Awaitable[None]]
OnAssigned = Callable[[Collection[Partition]], None]
# Makes a source that is not started yet. The first is awaited before partitions go to another consumer; the second is called
# with new ones.
Connect = Callable[[OnRevoked, OnAssigned], Source]
