"""
The reorder buffer: events go in as they arrive and come out in event-time order. Pure; times in microseconds.

An event that is older than the merged watermark on arrival comes back at once, with its lateness: the order it belongs
to has been written already. Nothing is dropped.

The buffer is bounded. When it is full, the partitions that are ahead are to be paused, so that the one everything waits
for catches up; they may go on at half. Where even that does not help (more events within one window than fit), the oldest
events are let out early and the watermark moves up to them: order is still kept, and what comes later for that time is late.

Invariants (`consumer/tests/test_reorder.py`): every event comes out exactly once; those let out as in order never go back
in event time; an event is late exactly when it was older than the merged watermark when it arrived.
"""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from operator import attrgetter

from consumer.envelope import Envelope, Lateness, LateReason, Partition, Row
from consumer.watermark import Watermarks

_order = attrgetter("order")
_time = attrgetter("time_us")


class ReorderBuffer:
    """
    Hold events until their order is certain.

    Args:
        window_us: How much later than a newer one an event may arrive and still be put in order.
        max_future_us: An event further ahead of its receipt than this is from the future: it is not waited for, and moves
            no watermark. A receipt counts only as far as one of the other two clocks says so, the producer's or this
            machine's: a gateway whose clock is ahead dates the events that came without a time with that very clock.
        max_events: Events held before partitions are to be paused.
        max_bytes: Bytes of events held, likewise.
    """

    def __init__(self, *, window_us: int, max_future_us: int, max_events: int, max_bytes: int) -> None:
        self.watermarks = Watermarks(window_us, max_future_us)
        self._window_us = window_us
        self._max_future_us = max_future_us
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._held: list[Envelope] = []
        self._held_bytes = 0
        self._throttled = False

    def __len__(self) -> int:
        return len(self._held)

    @property
    def held_bytes(self) -> int:
        """Bytes of the events held."""
        return self._held_bytes

    @property
    def room(self) -> int:
        """Events that can be offered before any has to leave early; at least one, so that reading never stops."""
        return max(1, self._max_events * 5 // 4 - len(self._held))

    def offer(self, arrived: Sequence[Envelope], now_us: int) -> list[Row]:
        """
        Take events that were just read; return those that are late.

        Lateness is judged by the watermark as it was before them: what is read together arrives together.
        """
        watermark_us = self.watermarks.merged_us
        late: list[Row] = []
        newest: dict[Partition, tuple[int, int]] = {}
        received_us = produced_us = 0
        for envelope in arrived:
            received_us = max(received_us, envelope.received_us)
            produced_us = max(produced_us, envelope.produced_us)
            believed_us = min(envelope.received_us, max(envelope.produced_us, now_us))
            ahead_us = envelope.time_us - believed_us
            if ahead_us > self._max_future_us:
                late.append(Row(envelope, Lateness("clock_skew", _ms_up(ahead_us))))
                continue
            time_us, receipt_us = newest.get(envelope.partition, (0, 0))
            newest[envelope.partition] = (max(time_us, envelope.time_us), max(receipt_us, envelope.received_us))
            if watermark_us is not None and envelope.time_us < watermark_us:
                lateness = Lateness(self._reason(envelope), _ms_up(watermark_us - envelope.time_us))
                late.append(Row(envelope, lateness))
            else:
                self._held.append(envelope)
                self._held_bytes += len(envelope.value)
        for partition, (time_us, receipt_us) in newest.items():
            self.watermarks.seen(partition, time_us, receipt_us, now_us, produced_us)
        if arrived:
            self.watermarks.received(received_us, now_us, produced_us)
        return late

    def release(self) -> list[Row]:
        """Return, in order, the events whose order is now certain, and any that must make room."""
        self._held.sort(key=_order)
        watermark_us = self.watermarks.advance()
        count = 0 if watermark_us is None else bisect_right(self._held, watermark_us, key=_time)
        count = max(count, self._overflow(count))
        if not count:
            return []
        released, self._held = self._held[:count], self._held[count:]
        self._held_bytes -= sum(len(envelope.value) for envelope in released)
        self.watermarks.raise_to(released[-1].time_us)
        return [Row(envelope) for envelope in released]

    def to_pause(self) -> Collection[Partition]:
        """Return the partitions that must not be read for now: those ahead, from a full buffer down to a half-full one."""
        if self._fill() >= 1:
            self._throttled = True
        elif self._fill() <= 1 / 2:
            self._throttled = False
        return frozenset(self.watermarks.ahead()) if self._throttled else frozenset()

    def _fill(self) -> float:
        return max(len(self._held) / self._max_events, self._held_bytes / self._max_bytes)

    def _overflow(self, count: int) -> int:
        # A quarter of slack: the partition everything waits for is still read when the buffer is full.
        held = len(self._held) - count
        held_bytes = self._held_bytes - sum(len(envelope.value) for envelope in self._held[:count])
        if held <= self._max_events * 5 // 4 and held_bytes <= self._max_bytes * 5 // 4:
            return 0
        oldest = max(count, len(self._held) - self._max_events)
        kept_bytes = held_bytes - sum(len(envelope.value) for envelope in self._held[count:oldest])
        while kept_bytes > self._max_bytes:
            kept_bytes -= len(self._held[oldest].value)
            oldest += 1
        return oldest

    def _reason(self, envelope: Envelope) -> LateReason:
        if envelope.received_us - envelope.time_us > self._window_us:
            return "delayed"
        return "replication_backlog" if envelope.mirrored else "pipeline"


def _ms_up(microseconds: int) -> int:
    return -(-microseconds // 1000)
