"""
Which partitions of an order keep up with the others, and which hold them up. Pure; times in microseconds.

`consumer/watermark.py` says how far each partition is. From that follows what is done: while the buffer is full, partitions that
are ahead are paused. A straggler continues in an order of its own, and joins the others again once it is read to its end
(`consumer/orders.py`).
"""

from collections.abc import Sequence

from consumer.envelope import Partition
from consumer.watermark import NEVER, Watermarks


def ahead(watermarks: Watermarks) -> Sequence[Partition]:
    """Return the partitions that do not hold the merged watermark back."""
    unread = [clock for clock in watermarks.clocks.values() if clock.has_unread]
    if not unread:
        return []
    # A partition without a watermark has records that were not read yet, and those may be older than all others.
    lowest = min(NEVER if clock.watermark_us is None else clock.watermark_us for clock in unread)
    return [
        partition
        for partition, clock in watermarks.clocks.items()
        if clock.watermark_us is not None and clock.watermark_us > lowest
    ]


def are_read_to_the_end(watermarks: Watermarks, now_us: int, patience_us: int) -> bool:
    """Say whether all partitions are known to have been read to their ends within the last `patience_us`."""
    return all(
        not clock.has_unread and clock.empty_us is not None and clock.empty_us >= now_us - patience_us
        for clock in watermarks.clocks.values()
    )


def stragglers(watermarks: Watermarks, now_us: int, patience_us: int) -> Sequence[Partition]:
    """
    Return the partitions that hold fresh events of the others back for longer than two windows.

    A straggler has unread records, or its broker does not say whether it has; and another partition was read to its end just
    now. Where none was, as after an outage, all partitions catch up together, and none is in the way of another.

    Args:
        watermarks: Of the order.
        now_us: Now.
        patience_us: How long a proof that a partition was read to its end may take to come.
    """
    gateways_us = watermarks.gateways_us(now_us)
    if gateways_us is None:
        return []
    held_us = 2 * watermarks.window_us + patience_us
    clocks = watermarks.clocks
    if not any(
        not clock.has_unread
        and clock.empty_us is not None
        and clock.read_us is not None
        and clock.empty_us >= now_us - patience_us
        and clock.read_us >= now_us - held_us
        for clock in clocks.values()
    ):
        return []
    return [
        partition
        for partition, clock in clocks.items()
        if clock.is_unknown_since(now_us - patience_us, now_us - held_us)
        and (effective_us := watermarks.effective_us(clock)) is not None
        and effective_us < gateways_us - held_us
    ]
