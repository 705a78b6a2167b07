"""
Watermarks: how far event time is known to be complete. Pure; all times are integers in microseconds.

Each partition's watermark is the newest event time read from it minus the window. While the partition is known to be
read to its end it walks on with the clock, so the tail of a burst is not held back (the idea of bytewax's event clock).
Three things distinguish it from the textbook:

* **Idle means known to be empty.** Time passes for a partition only up to a moment at which the broker is known to have
  had no unread record of it (`confirm_empty`). One that was paused, not fetched yet or is being caught up stands still;
  else every backlog would be judged late.
* **An empty partition holds the others back by two windows at most.** Without a bound, one client whose clock is an
  hour slow, or one event of last year, would hold the region's newest events in the buffer for as long. The bound is
  reckoned on the gateways' clock (`receivedAt` of what was read, plus the time since), not on this machine's. The receipt
  that is furthest ahead counts for some seconds and no longer: a gateway's clock that was wrong for a moment must not make
  everything late for ever.
* **A partition that never had a record does not count**; one with records not yet read holds everything back.

The merged watermark is the minimum over the assigned partitions and never moves backwards.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from consumer.envelope import Partition

RECEIPT_MEMORY_US: Final = 10_000_000


@dataclass(slots=True)
class PartitionClock:
    """
    The watermark of one partition.

    Attributes:
        watermark_us: None until a record was read or a stored watermark was restored.
        has_unread: Whether records are known to wait at the broker.
        walked_to_us: Until when (now-time) the passing of time has been accounted for.
    """

    watermark_us: int | None
    has_unread: bool
    walked_to_us: int

    def seen(self, newest_us: int, window_us: int, now_us: int) -> None:
        """Account for records just read, the newest of which happened at `newest_us`."""
        candidate = newest_us - window_us
        if self.watermark_us is None or candidate > self.watermark_us:
            self.watermark_us = candidate
        self.walked_to_us = max(self.walked_to_us, now_us)
        self.has_unread = True  # until the broker says otherwise

    def confirm_empty(self, at_us: int) -> None:
        """Let time pass up to `at_us`, when the broker had nothing unread."""
        self.has_unread = False
        if at_us > self.walked_to_us:
            if self.watermark_us is not None:
                self.watermark_us += at_us - self.walked_to_us
            self.walked_to_us = at_us


class Watermarks:
    """
    The partitions' watermarks and their minimum.

    Args:
        window_us: How much later than a newer one an event may arrive and still be in time.
        max_future_us: A receipt further ahead than this of both other clocks, the producer's and this machine's, is not
            believed.
    """

    def __init__(self, window_us: int, max_future_us: int) -> None:
        self._window_us = window_us
        self._max_future_us = max_future_us
        self._clocks: dict[Partition, PartitionClock] = {}
        self._restored_us: dict[Partition, int | None] = {}
        self._merged_us: int | None = None
        self._newest_receipt: tuple[int, int] | None = None

    @property
    def merged_us(self) -> int | None:
        """Events older than this are late; None while nothing is known."""
        return self._merged_us

    @property
    def partitions(self) -> Collection[Partition]:
        """Those that were assigned."""
        return self._clocks.keys()

    def resume_point(self, partition: Partition) -> int | None:
        """
        Return the watermark from which a successor must judge lateness as this one does.

        Not above the merged one: events that are held back may be older than their own partition's watermark, and their
        next reader may not have the partitions that hold them back here. While there is no merged one, everything is
        held back, and what the last owner knew still counts.
        """
        own_us = self._clocks[partition].watermark_us
        if self._merged_us is None:
            return self._restored_us[partition]
        return None if own_us is None else min(own_us, self._merged_us)

    def assign(self, partition: Partition, watermark_us: int | None, now_us: int, *, has_unread: bool) -> None:
        """
        Begin to look after a partition.

        Args:
            partition: The partition.
            watermark_us: As stored by its last owner, None if it has none.
            now_us: Now.
            has_unread: Whether records wait to be read.
        """
        self._clocks[partition] = PartitionClock(watermark_us, has_unread, now_us)
        self._restored_us[partition] = watermark_us

    def seen(self, partition: Partition, newest_us: int, received_us: int, now_us: int, produced_us: int = 0) -> None:
        """
        Account for records just read from a partition.

        Args:
            partition: Where they were read.
            newest_us: The newest event time among them, those from too far in the future left out.
            received_us: The newest receipt among them.
            now_us: Now.
            produced_us: When a producer last says to have written one of them.
        """
        self._clocks[partition].seen(newest_us, self._window_us, now_us)
        self.received(received_us, now_us, produced_us)

    def received(self, received_us: int, now_us: int, produced_us: int = 0) -> None:
        """Account for the newest receipt time among records just read, whatever their event times."""
        receipt = min(received_us, max(now_us, produced_us) + self._max_future_us)
        if self._newest_receipt is not None:
            before_us, read_at_us = self._newest_receipt
            if receipt - now_us <= before_us - read_at_us and now_us - read_at_us <= RECEIPT_MEMORY_US:
                return
        self._newest_receipt = (receipt, now_us)

    def confirm_empty(self, partition: Partition, at_us: int) -> None:
        """Account for the broker's word that at `at_us` nothing of the partition was unread."""
        self._clocks[partition].confirm_empty(at_us)

    def advance(self) -> int | None:
        """Recompute the merged watermark and return it."""
        lowest: int | None = None
        for clock in self._clocks.values():
            if clock.watermark_us is None:
                if clock.has_unread:
                    return self._merged_us
                continue
            effective = max(clock.watermark_us, self._floor_us(clock))
            if lowest is None or effective < lowest:
                lowest = effective
        self.raise_to(lowest)
        return self._merged_us

    def raise_to(self, watermark_us: int | None) -> None:
        """Move the merged watermark up to `watermark_us`, never down."""
        if watermark_us is not None and (self._merged_us is None or watermark_us > self._merged_us):
            self._merged_us = watermark_us

    def ahead(self) -> Iterable[Partition]:
        """Return the partitions that do not hold the merged watermark back."""
        unread = [clock for clock in self._clocks.values() if clock.has_unread]
        if not unread:
            return []
        if any(clock.watermark_us is None for clock in unread):
            lowest = -(2**62)  # records nobody has seen yet may be older than all
        else:
            lowest = min(clock.watermark_us for clock in unread if clock.watermark_us is not None)
        return [
            p for p, clock in self._clocks.items() if clock.watermark_us is not None and clock.watermark_us > lowest
        ]

    def _floor_us(self, clock: PartitionClock) -> int:
        if clock.has_unread or self._newest_receipt is None:
            return -(2**62)
        receipt_us, read_at_us = self._newest_receipt
        return receipt_us + (clock.walked_to_us - read_at_us) - 2 * self._window_us
