"""
Several orders beside each other, so that none waits for another. Pure; times in microseconds.

Each region whose events are read has an order of its own, with its own watermark and its own share of the buffer: the one
that this consumer belongs to, and each that is mirrored. A link that is slow, or that brings a backlog after a split, holds back
what comes through it, and nothing else.

Within a region, partitions wait for each other, for that is what order means; but not for stragglers. When a partition was read
to its end and its events still wait after two windows, those that they wait for are stragglers: they continue in an order of
their own. They join the others again when they, too, are read to their ends. A straggler is a partition without a leader, the
fullest one after an outage, or one into which history is imported faster than it is read. While all are behind, they stay
together.

Nothing becomes late by it: an order is a name in `stored_by`, and what is promised is promised for each.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import chain, count, groupby
from operator import itemgetter
from typing import Final

from consumer.envelope import Envelope, Lateness, Partition, Row
from consumer.reorder import ReorderBuffer, lateness_of
from consumer.stragglers import are_read_to_the_end, stragglers
from shared.wire.regions import origin_of

_partition: Final = itemgetter(Envelope._fields.index("partition"))
# This share of the buffer is reserved for the orders, for each the same, and the rest is for those that need it. An order
# keeps a backlog in order within four windows of events, and not within two.
_RESERVED: Final = 1 / 2
# Of the buffer's bytes, one reading brings no more.
_READING: Final = 1 / 8
# How large events are taken to be before any was read.
_UNKNOWN_BYTES: Final = 65_536


class Orders:
    """
    A reorder buffer for each order; the parameters that are not described here are those of `ReorderBuffer`.

    Args:
        region: The consumer's own.
        window_us: See there.
        max_future_us: See there.
        max_events: Of all orders together.
        max_bytes: Likewise.
        patience_us: How long the proof that a partition was read to its end may take to come.
        make: Makes a buffer.
    """

    def __init__(
        self,
        *,
        region: str,
        window_us: int,
        max_future_us: int,
        max_events: int,
        max_bytes: int,
        patience_us: int,
        make: Callable[..., ReorderBuffer] = ReorderBuffer,
    ) -> None:
        self._region = region
        self._window_us = window_us
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._patience_us = patience_us
        self._make = partial(
            make, window_us=window_us, max_future_us=max_future_us, max_events=max_events, max_bytes=max_bytes
        )
        self._buffers: dict[str, ReorderBuffer] = {}
        self._homes: dict[str, ReorderBuffer] = {}  # of each buffer, by its name, the one of its region
        self._of: dict[Partition, ReorderBuffer] = {}
        self._numbers = count(1)
        self._event_bytes = _UNKNOWN_BYTES

    def __len__(self) -> int:
        return sum(buffer.room.count for buffer in self._buffers.values())

    @property
    def held_bytes(self) -> int:
        """Bytes of the events held."""
        return sum(buffer.room.held_bytes for buffer in self._buffers.values())

    @property
    def watermark_us(self) -> int | None:
        """The merged watermark of the consumer's own region; the lowest one where none of its partitions is read here."""
        own = self._buffers.get("")
        if own is not None:
            return own.watermarks.merged_us
        known = (buffer.watermarks.merged_us for buffer in self._buffers.values())
        return min((watermark_us for watermark_us in known if watermark_us is not None), default=None)

    def assign(self, partition: Partition, watermark_us: int | None, now_us: int, *, has_unread: bool) -> None:
        """Begin to look after a partition; see `Watermarks.assign`."""
        name = origin_of(partition.topic, "")
        buffer = self._buffers[name] if name in self._buffers else self._begin(name)
        buffer.watermarks.assign(partition, watermark_us, now_us, has_unread=has_unread)
        self._of[partition] = buffer

    def confirm_empty(self, partition: Partition, at_us: int) -> None:
        """Account for the broker's word that at `at_us` nothing of the partition was unread."""
        self._of[partition].watermarks.confirm_empty(partition, at_us)

    def doubt(self, partitions: Collection[Partition], given_up: Collection[Partition]) -> None:
        """Account for partitions that are not read until their logs were looked at; those given up hold up no other."""
        for partition in partitions:
            if partition in self._of:
                self._of[partition].watermarks.doubt(partition, has_unread=partition not in given_up)

    def resume_point(self, partition: Partition) -> int | None:
        """Return the watermark from which a successor must judge lateness as this one does."""
        return self._of[partition].watermarks.resume_point(partition)

    def advance(self) -> None:
        """Recompute the merged watermarks."""
        for buffer in self._buffers.values():
            buffer.watermarks.advance()

    def offer(self, arrived: Sequence[Envelope], now_us: int) -> list[Row]:
        """Take events that were just read; return those that are late for their order."""
        self._arrange(now_us)
        self._share_out()
        late: list[Row] = []
        largest = 1
        for partition, group in groupby(arrived, _partition):
            envelopes = list(group)
            largest = max(largest, len(envelopes[0].value), len(envelopes[-1].value))
            late += self._of[partition].offer(partition, envelopes, now_us)
        if arrived:
            self._event_bytes = max(largest, self._event_bytes * 3 // 4)
        return late

    def release(self) -> list[list[Row]]:
        """Return the events that are released now, and any that must make room: each order's in order."""
        released: list[list[Row]] = []
        for name, buffer in self._buffers.items():
            home = self._homes[name]
            if buffer is not home:
                # An order that catches up stops where the others of its region are, and joins them again.
                buffer.watermarks.ceiling_us = home.watermarks.merged_us
            if rows := buffer.release():
                released.append(rows)
        return released

    def release_all(self) -> list[list[Row]]:
        """Return all events held, each order's in order; nothing comes in order before the last of them."""
        return [rows for buffer in self._buffers.values() if (rows := buffer.release_all())]

    def lateness(self, envelope: Envelope, watermark_us: int) -> Lateness:
        """Return why and by how much an event is late that was held up until its order had come to a watermark."""
        return lateness_of(envelope, watermark_us, self._window_us)

    def shares(self, limit: int) -> dict[Partition, int]:
        """
        Return which partitions to read, and of each how many events, so that none has to leave early for want of room.

        Args:
            limit: Events of all partitions together; fewer where they are large. Each gets one at least.
        """
        limit = max(1, min(limit, int(self._max_bytes * _READING) // self._event_bytes))
        shares: dict[Partition, int] = {}
        wanted: dict[str, int] = {}
        for name, buffer in self._buffers.items():
            of_order = buffer.shares(limit * len(buffer.watermarks.partitions) // len(self._of))
            shares |= of_order
            wanted[name] = sum(of_order.values())
        for name, granted in self._granted(wanted).items():
            for partition in self._buffers[name].watermarks.partitions:
                if partition in shares:
                    shares[partition] = max(1, shares[partition] * granted // wanted[name])
        return shares

    def _granted(self, wanted: Mapping[str, int]) -> Mapping[str, int]:
        """
        Return how many events the orders may read that want more than can be given; all others may read what they want.

        What no order has reserved is free, and each order sees all of it. It is given away once, in proportion. A throttled
        order reads into its own slack.
        """
        kept = self._kept(self._max_events)
        rooms = {name: buffer.room for name, buffer in self._buffers.items() if not buffer.room.is_throttled}
        used = [_used(buffer.room.count, buffer.room.max_events, kept) for buffer in self._buffers.values()]
        free = max(0, self._max_events - sum(used))
        beyond = {name: max(0, wanted[name] - max(0, kept - room.count)) for name, room in rooms.items()}
        total = sum(beyond.values())
        if total <= free:
            return {}
        return {name: wanted[name] - more + more * free // total for name, more in beyond.items() if more}

    @property
    def paused(self) -> Collection[Partition]:
        """The partitions that must not be read for now, as the last `throttle` left it."""
        return frozenset(chain.from_iterable(buffer.paused for buffer in self._buffers.values()))

    def throttle(self) -> Collection[Partition]:
        """Throttle orders that are full; return the partitions that are to be paused for it."""
        return frozenset(chain.from_iterable(buffer.throttle() for buffer in self._buffers.values()))

    def _begin(self, name: str, home: ReorderBuffer | None = None) -> ReorderBuffer:
        self._buffers[name] = buffer = self._make(name=name)
        self._homes[name] = buffer if home is None else home
        return buffer

    def _arrange(self, now_us: int) -> None:
        """Set stragglers apart, and let those join again that are read to their ends."""
        for name, buffer in list(self._buffers.items()):
            home = self._homes[name]
            if buffer is not home and self._may_join(buffer, home, now_us):
                self._move(buffer, frozenset(buffer.watermarks.partitions), home)
                del self._buffers[name], self._homes[name]
            elif buffer.room.count and (slow := stragglers(buffer.watermarks, now_us, self._patience_us)):
                apart = self._begin(f"{home.name or self._region}/{next(self._numbers)}", home)
                self._move(buffer, frozenset(slow), apart)
                apart.watermarks.raise_to(buffer.watermarks.merged_us)

    def _may_join(self, buffer: ReorderBuffer, home: ReorderBuffer, now_us: int) -> bool:
        if not are_read_to_the_end(buffer.watermarks, now_us, self._patience_us):
            return False
        here_us, there_us, oldest_us = buffer.watermarks.merged_us, home.watermarks.merged_us, buffer.oldest_us
        if here_us is None or there_us is None:
            return here_us is None
        # A watermark that was written for a successor does not go back; and what is held here is not to be late there.
        return here_us <= there_us and (oldest_us is None or there_us <= oldest_us)

    def _move(self, buffer: ReorderBuffer, partitions: Collection[Partition], to: ReorderBuffer) -> None:
        """Move partitions to another buffer, with their watermarks and what is held of them."""
        to.keep(buffer.withdraw(partitions))
        for partition in partitions:
            to.watermarks.take_over(partition, buffer.watermarks.withdraw(partition))
            self._of[partition] = to

    def _share_out(self) -> None:
        """Let each order have what the others leave, but those what is reserved for them."""
        if not self._buffers:
            return
        kept_events, kept_bytes = self._kept(self._max_events), self._kept(self._max_bytes)
        rooms = [buffer.room for buffer in self._buffers.values()]
        used_events = [_used(room.count, room.max_events, kept_events) for room in rooms]
        used_bytes = [_used(room.held_bytes, room.max_bytes, kept_bytes) for room in rooms]
        free_events, free_bytes = self._max_events - sum(used_events), self._max_bytes - sum(used_bytes)
        for room, events, size in zip(rooms, used_events, used_bytes, strict=True):
            room.limit(max(1, kept_events, free_events + events), max(1, kept_bytes, free_bytes + size))

    def _kept(self, most: int) -> int:
        return int(most * _RESERVED / max(1, len(self._buffers)))


def _used(held: int, limit: int, kept: int) -> int:
    """Return how much of the buffer an order has: the slack in which it may be beyond its limit is no room of the others."""
    return max(min(held, limit), kept)
