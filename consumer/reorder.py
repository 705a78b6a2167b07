"""
The reorder buffer: events go in as they arrive and are released in event-time order. Pure; times in microseconds.

An event that is older than the merged watermark on arrival comes back at once, with its lateness: the order it belongs to has
been written already. Nothing is dropped.

The buffer is bounded (`consumer/room.py`). When more events lie within one window than fit, pausing partitions does not help.
Then the oldest events are released early and the watermark moves up to them. Order is kept, and what comes later for that time
is late.

What was read at once is sorted at once, and kept as a run; only what is released is merged. So an event is sorted twice, however
long it is held.

Invariants (`consumer/tests/test_reorder.py`): every event comes out exactly once; those released in order never go back in event
time; an event is late exactly when it was older than the merged watermark when it arrived.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from itertools import chain, repeat
from operator import itemgetter
from typing import Final, cast

from consumer.envelope import Envelope, Lateness, LateReason, Partition, Row
from consumer.room import Room
from consumer.stragglers import ahead
from consumer.watermark import Watermarks

# More runs than this are merged; a second or two of polls makes as many.
_MOST_RUNS: Final = 64
_time, _received, _produced, _value = (
    itemgetter(Envelope._fields.index(name)) for name in ("time_us", "received_us", "produced_us", "value")
)
# Makes rows in C: `Row(…)` would cost a Python call each.
_row: Final = cast("Callable[[tuple[Envelope, None, str]], Row]", partial(tuple.__new__, Row))


class ReorderBuffer:
    """
    Hold events until no older one can come before them.

    Args:
        window_us: How much later than a newer one an event may arrive and still be put in order.
        max_future_us: An event further ahead of its receipt than this is from the future: it is not waited for, and moves
            no watermark. Three clocks say when it was received, the gateway's, the broker's and this machine's, and the one
            in the middle is believed. A gateway whose clock is ahead also dates the events that came without a time with that
            clock. One whose clock is behind makes the present the future.
        max_events: Events held before partitions are to be paused.
        max_bytes: Bytes of events held, likewise.
        name: Of the order that is made here.

    Attributes:
        watermarks: Of the partitions of this order.
        name: As given.
        room: What is held, and how much more fits.
    """

    def __init__(self, *, window_us: int, max_future_us: int, max_events: int, max_bytes: int, name: str = "") -> None:
        self.watermarks = Watermarks(window_us, max_future_us)
        self.name = name
        self._window_us = window_us
        self._max_future_us = max_future_us
        self.room = Room(max_events, max_bytes)
        self._arrived: list[Envelope] = []
        self._runs: list[list[Envelope]] = []

    def offer(self, partition: Partition, envelopes: Sequence[Envelope], now_us: int) -> list[Row]:
        """
        Take events that were just read of one partition, one at least; return those that are late.

        Lateness is judged by the watermark as it was before them: what is read together arrives together.
        """
        late: list[Row] = []
        received_us, produced_us = max(map(_received, envelopes)), max(map(_produced, envelopes))
        if not envelopes[0].mirrored:
            # A receipt behind both other clocks is not believed. When a copy was written here says nothing of its receipt.
            received_us = max(received_us, _median(received_us, produced_us, now_us))
        prompt = self._believe(envelopes, now_us, late)
        if prompt:
            watermark_us, is_ahead = self.watermarks.merged_us, self.watermarks.is_ahead_of_the_clock(now_us)
            self.watermarks.seen(partition, max(map(_time, prompt)), received_us, now_us, produced_us)
            self._hold(prompt, watermark_us, late, is_ahead=is_ahead)
        else:
            self.watermarks.received(received_us, now_us, produced_us)
        return late

    def _believe(self, envelopes: Sequence[Envelope], now_us: int, late: list[Row]) -> Sequence[Envelope]:
        """Move those from the future to the late ones, and return the others."""
        furthest_us = max(map(_time, envelopes)) - self._max_future_us
        if furthest_us <= _median(min(map(_received, envelopes)), min(map(_produced, envelopes)), now_us):
            return envelopes
        prompt: list[Envelope] = []
        for envelope in envelopes:
            time_us, received_us, produced_us = envelope.time_us, envelope.received_us, envelope.produced_us
            if time_us - _median(received_us, produced_us, now_us) > self._max_future_us:
                ahead_us = time_us - min(received_us, max(produced_us, now_us))
                late.append(Row(envelope, Lateness("clock_skew", _ms_up(ahead_us)), self.name))
            else:
                prompt.append(envelope)
        return prompt

    def _hold(
        self, envelopes: Sequence[Envelope], watermark_us: int | None, late: list[Row], *, is_ahead: bool
    ) -> None:
        """Keep those that are not late."""
        if watermark_us is not None and min(map(_time, envelopes)) < watermark_us:
            for envelope in envelopes:
                if envelope.time_us < watermark_us:
                    lateness = lateness_of(envelope, watermark_us, self._window_us, is_ahead=is_ahead)
                    late.append(Row(envelope, lateness, self.name))
            envelopes = [envelope for envelope in envelopes if envelope.time_us >= watermark_us]
        self.keep(envelopes)

    @property
    def oldest_us(self) -> int | None:
        """Time of the oldest event that is held."""
        oldest = [run[0].time_us for run in self._runs]
        if self._arrived:
            oldest.append(min(map(_time, self._arrived)))
        return min(oldest, default=None)

    def withdraw(self, partitions: Collection[Partition]) -> list[Envelope]:
        """Hold nothing of these partitions any longer, and return what was held."""
        held = [envelope for envelope in chain(*self._runs, self._arrived) if envelope.partition in partitions]
        if held:
            rest = ([e for e in run if e.partition not in partitions] for run in self._runs)
            self._runs = [run for run in rest if run]
            self._arrived = [e for e in self._arrived if e.partition not in partitions]
            self._forget(held)
        return held

    def keep(self, envelopes: Sequence[Envelope]) -> None:
        """Hold events that are not late."""
        self._arrived += envelopes
        self.room.count += len(envelopes)
        self.room.held_bytes += _bytes(envelopes)

    def release(self) -> list[Row]:
        """Return, in order, the events that are released now, and any that must make room."""
        if self._arrived:
            self._arrived.sort(key=_time)
            self._runs.append(self._arrived)
            self._arrived = []
        watermark_us = self.watermarks.advance()
        released = [] if watermark_us is None else self._cut(watermark_us)
        if self._is_overfull():
            released += self._cut_oldest()
        if not released:
            return []
        self.watermarks.raise_to(released[-1].time_us)
        return list(map(_row, zip(released, repeat(None), repeat(self.name))))

    def release_all(self) -> list[Row]:
        """Return, in order, all events held, and nothing to come in order before the last of them."""
        released = _in_order([*self._runs, self._arrived])
        self._runs, self._arrived = [], []
        self._forget(released)
        if released:
            self.watermarks.raise_to(released[-1].time_us)
        return list(map(_row, zip(released, repeat(None), repeat(self.name))))

    def _cut(self, watermark_us: int) -> list[Envelope]:
        """Take out, in order, the events up to the watermark."""
        heads: list[list[Envelope]] = []
        runs: list[list[Envelope]] = []
        for run in self._runs:
            count = bisect_right(run, watermark_us, key=_time)
            heads.append(run[:count])
            if count < len(run):
                runs.append(run[count:] if count else run)
        self._runs = runs if len(runs) <= _MOST_RUNS else [_in_order(runs)]
        ready = _in_order(heads)
        self._forget(ready)
        return ready

    def _cut_oldest(self) -> list[Envelope]:
        """Take out, in order, as many of the oldest events as must make room."""
        held = _in_order(self._runs)
        count = max(0, self.room.count - self.room.max_events)
        kept_bytes = self.room.held_bytes - _bytes(held[:count])
        while kept_bytes > self.room.max_bytes:
            kept_bytes -= len(held[count].value)
            count += 1
        oldest, self._runs = held[:count], [held[count:]]
        self._forget(oldest)
        return oldest

    def _forget(self, released: Sequence[Envelope]) -> None:
        self.room.count -= len(released)
        self.room.held_bytes -= _bytes(released)

    def _is_overfull(self) -> bool:
        return self.room.count > self.room.most_events or self.room.held_bytes > self.room.most_bytes

    def shares(self, limit: int) -> dict[Partition, int]:
        """
        Return which partitions to read, and of each how many events, so that none has to leave early for want of room.

        Each gets its share, whatever its client holds ready: one that was emptied before the next is read would fill the
        buffer, and make late what the others hold. Those that are ahead get half as much as the others. Otherwise they would
        get further ahead all the time, and be held all the longer. Once the buffer is full, its slack is divided among all
        partitions, not among those that still run: the one that all others wait for then must find room, too.

        Args:
            limit: Events of all partitions together; each gets one at least, so that reading never stops.
        """
        assigned, paused = self.watermarks.partitions, self.paused
        if self.room.is_throttled:
            running = [partition for partition in assigned if partition not in paused]
            return dict.fromkeys(
                running, max(1, min(limit // len(running), self.room.left_with_slack // len(assigned)))
            )
        limit = min(limit, self.room.left)
        leading = frozenset(ahead(self.watermarks))
        weights = {partition: 1 if partition in leading else 2 for partition in assigned}
        total = sum(weights.values())
        return {partition: max(1, weight * limit // total) for partition, weight in weights.items()}

    @property
    def paused(self) -> Collection[Partition]:
        """The partitions that must not be read for now: those ahead, while the buffer is throttled."""
        return frozenset(ahead(self.watermarks)) if self.room.is_throttled else frozenset()

    def throttle(self) -> Collection[Partition]:
        """Throttle a full buffer until it is half full; return what is to be paused, see `paused`."""
        self.room.throttle()
        return self.paused


def lateness_of(envelope: Envelope, watermark_us: int, window_us: int, *, is_ahead: bool = False) -> Lateness:
    """
    Return why and by how much an event is late that is older than a watermark.

    Args:
        envelope: The event.
        watermark_us: The watermark.
        window_us: The window.
        is_ahead: Whether an event dated ahead of the clock has moved the watermark there.
    """
    return Lateness(_reason(envelope, window_us, is_ahead=is_ahead), _ms_up(watermark_us - envelope.time_us))


def _reason(envelope: Envelope, window_us: int, *, is_ahead: bool) -> LateReason:
    if envelope.received_us - envelope.time_us > window_us:
        return "delayed"
    if is_ahead:
        return "overtaken"
    return "replication_backlog" if envelope.mirrored else "pipeline"


def _in_order(runs: Iterable[Iterable[Envelope]]) -> list[Envelope]:
    """Merge: sorting finds the runs. By time first, which compares integers and leaves little to do for all fields."""
    merged = list(chain.from_iterable(runs))
    merged.sort(key=_time)
    merged.sort()
    return merged


def _bytes(envelopes: Sequence[Envelope]) -> int:
    return sum(map(len, map(_value, envelopes)))


def _median(one_us: int, another_us: int, third_us: int) -> int:
    """Return the time of the clock in the middle: whichever of the three is wrong, the others outvote it."""
    return sorted((one_us, another_us, third_us))[1]


def _ms_up(microseconds: int) -> int:
    return -(-microseconds // 1000)
