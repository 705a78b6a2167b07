"""
Watermarks: how far event time is known to be complete. Pure; all times are integers in microseconds.

Each partition's watermark is the newest event time read from it minus the window. While the partition is known to be read to
its end, its watermark walks on with the clock. So the tail of a burst is not held back. (bytewax's event clock has the same
idea.) Four things distinguish it from the textbook:

* **Idle means known to be empty.** Time passes for a partition only up to a moment at which nothing of it was unread
  (`confirm_empty`). A partition that was paused, not fetched yet or is being caught up stands still; otherwise every
  backlog would be judged late.
* **An empty partition holds the others back by two windows at most.** Without a bound, a client whose clock is slow by an
  hour would hold the region's newest events for that hour; so would one event of last year. The bound is reckoned on
  the gateways' clock (`receivedAt` of what was read, plus the time since), not on this machine's. The receipt that is furthest
  ahead counts for some seconds and no longer. So a gateway's clock that was wrong for a moment makes nothing late for ever.
* **A watermark ahead of the clock waits for the clock.** Walking goes no further than the gateways' clock minus the window. An
  event dated a minute ahead may be believed; were its lead kept on the walk, what is dated rightly would be late for hours.
* **A partition that never had a record does not count**; one with records not yet read holds everything back.

The merged watermark is the minimum over the assigned partitions and never moves backwards.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple

from consumer.envelope import Partition

RECEIPT_MEMORY_US: Final = 10_000_000
NEVER: Final = -(2**62)


@dataclass(slots=True)
class PartitionClock:
    """
    The watermark of one partition.

    Attributes:
        watermark_us: None until a record was read or a stored watermark was restored.
        has_unread: Whether records are known to wait at the broker.
        assigned_us: Since when (now-time) it is looked after.
        walked_to_us: Until when (now-time) the passing of time has been accounted for.
        empty_us: The latest moment (now-time) at which nothing was unread; None if there was none.
        read_us: When (now-time) records were last read; None if never.
    """

    watermark_us: int | None
    has_unread: bool
    assigned_us: int
    walked_to_us: int
    empty_us: int | None = None
    read_us: int | None = None

    def seen(self, newest_us: int, window_us: int, now_us: int) -> None:
        """Account for records just read, the newest of which happened at `newest_us`."""
        candidate = newest_us - window_us
        if self.watermark_us is None or candidate > self.watermark_us:
            self.watermark_us = candidate
        self.walked_to_us = max(self.walked_to_us, now_us)
        self.read_us = now_us
        self.has_unread = True  # until the broker says otherwise

    def confirm_empty(self, at_us: int) -> None:
        """Note that at `at_us` the broker had nothing unread."""
        self.has_unread = False
        if self.empty_us is None or at_us > self.empty_us:
            self.empty_us = at_us

    def is_unknown_since(self, proven_us: int, assigned_us: int) -> bool:
        """Say whether it was not read to its end since `proven_us`, or never, although looked after since `assigned_us`."""
        return self.assigned_us < assigned_us if self.empty_us is None else self.empty_us < proven_us

    def walk(self, to_us: int, at_most_us: int) -> None:
        """Let time pass up to `to_us`, but move no further than to `at_most_us`."""
        if to_us > self.walked_to_us:
            if self.watermark_us is not None:
                walked_us = self.watermark_us + to_us - self.walked_to_us
                self.watermark_us = max(self.watermark_us, min(walked_us, at_most_us))
            self.walked_to_us = to_us


class Standing(NamedTuple):
    """
    Where a partition stands.

    Attributes:
        clock: Its watermark.
        restored_us: What its last owner left.
        newest_receipt: The gateways' clock, as far as it is known: a receipt, and when (now-time) it was read.
    """

    clock: PartitionClock
    restored_us: int | None
    newest_receipt: tuple[int, int] | None


class Watermarks:
    """
    The partitions' watermarks and their minimum.

    Args:
        window_us: How much later than a newer one an event may arrive and still be in time.
        max_future_us: A receipt further ahead than this of both other clocks, the broker's and this machine's, is not
            believed.

    Attributes:
        window_us: As given.
        clocks: The watermark of each assigned partition.
        merged_us: Events older than this are late; None while nothing is known.
        ceiling_us: The highest value that the merged watermark may take; None if nothing limits it.
    """

    def __init__(self, window_us: int, max_future_us: int) -> None:
        self.window_us = window_us
        self._max_future_us = max_future_us
        self.clocks: dict[Partition, PartitionClock] = {}
        self.merged_us: int | None = None
        self.ceiling_us: int | None = None
        self._restored_us: dict[Partition, int | None] = {}
        self._newest_receipt: tuple[int, int] | None = None

    @property
    def partitions(self) -> Collection[Partition]:
        """Those that were assigned."""
        return self.clocks.keys()

    def resume_point(self, partition: Partition) -> int | None:
        """
        Return the watermark from which a successor must judge lateness as this one does.

        Not above the merged one: events that are held back may be older than their own partition's watermark. Their next
        reader may not have the partitions that hold them back here. While there is no merged one, everything is held back, and
        what the last owner knew still counts.
        """
        own_us = self.clocks[partition].watermark_us
        if self.merged_us is None:
            return self._restored_us[partition]
        return None if own_us is None else min(own_us, self.merged_us)

    def assign(self, partition: Partition, watermark_us: int | None, now_us: int, *, has_unread: bool) -> None:
        """
        Begin to look after a partition.

        Args:
            partition: The partition.
            watermark_us: As stored by its last owner, None if it has none.
            now_us: Now.
            has_unread: Whether records wait to be read.
        """
        self.clocks[partition] = PartitionClock(
            watermark_us, has_unread, now_us, now_us, None if has_unread else now_us
        )
        self._restored_us[partition] = watermark_us

    def seen(self, partition: Partition, newest_us: int, received_us: int, now_us: int, produced_us: int = 0) -> None:
        """
        Account for records just read from a partition.

        Args:
            partition: Where they were read.
            newest_us: The newest event time among them, those from too far in the future left out.
            received_us: The newest receipt among them.
            now_us: Now.
            produced_us: When the broker last says to have written one of them.
        """
        self.clocks[partition].seen(newest_us, self.window_us, now_us)
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
        """
        Account for the broker's word that at `at_us` nothing of the partition was unread.

        Whatever was read of it since is to be offered first: a proof counts although records came with it.
        """
        clock, gateways_us = self.clocks[partition], self.gateways_us(at_us)
        clock.confirm_empty(at_us)
        # While no receipt is known nothing was read, so nothing waits for the walk; it is made up for then.
        if gateways_us is not None:
            clock.walk(at_us, gateways_us - self.window_us)

    def doubt(self, partition: Partition, *, has_unread: bool) -> None:
        """
        Account for a partition of which nothing gets through until its log has been looked at.

        Args:
            partition: Which one.
            has_unread: Whether it is about to be read again, so that others must not get ahead of it as if it were empty;
                False for one whose broker is away for an unknown time.
        """
        self.clocks[partition].has_unread = has_unread

    def is_ahead_of_the_clock(self, now_us: int) -> bool:
        """Say whether an event dated ahead moved the merged watermark to where the gateways' clock could not be yet."""
        gateways_us = self.gateways_us(now_us)
        return self.merged_us is not None and gateways_us is not None and self.merged_us > gateways_us - self.window_us

    def withdraw(self, partition: Partition) -> Standing:
        """Look after a partition no longer, and return where it stands."""
        return Standing(self.clocks.pop(partition), self._restored_us.pop(partition), self._newest_receipt)

    def take_over(self, partition: Partition, standing: Standing) -> None:
        """Look after a partition that was withdrawn elsewhere, from where it stands."""
        self.clocks[partition] = standing.clock
        self._restored_us[partition] = standing.restored_us
        if self._newest_receipt is None:
            self._newest_receipt = standing.newest_receipt

    def advance(self) -> int | None:
        """Recompute the merged watermark and return it."""
        lowest: int | None = None
        for clock in self.clocks.values():
            effective_us = self.effective_us(clock)
            if effective_us == NEVER:
                return self.merged_us
            if effective_us is not None and (lowest is None or effective_us < lowest):
                lowest = effective_us
        if lowest is not None and self.ceiling_us is not None:
            lowest = min(lowest, self.ceiling_us)
        self.raise_to(lowest)
        return self.merged_us

    def raise_to(self, watermark_us: int | None) -> None:
        """Move the merged watermark up to `watermark_us`, never down."""
        if watermark_us is not None and (self.merged_us is None or watermark_us > self.merged_us):
            self.merged_us = watermark_us

    def effective_us(self, clock: PartitionClock) -> int | None:
        """Return up to where a partition lets the merged watermark go; None for one that has no say."""
        if clock.watermark_us is None:
            return NEVER if clock.has_unread else None
        if clock.has_unread or clock.empty_us is None:
            return clock.watermark_us
        gateways_us = self.gateways_us(clock.empty_us)
        return clock.watermark_us if gateways_us is None else max(clock.watermark_us, gateways_us - 2 * self.window_us)

    def gateways_us(self, at_us: int) -> int | None:
        """Return what the gateways' clock says at a moment of this machine's; None before the first receipt."""
        if self._newest_receipt is None:
            return None
        receipt_us, read_at_us = self._newest_receipt
        return receipt_us + at_us - read_at_us
