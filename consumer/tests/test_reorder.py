from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from random import Random

import pytest

from hypothesis import example, given
from hypothesis import strategies as st

from consumer.envelope import Envelope, Lateness, LateReason, Partition, Row
from consumer.reorder import ReorderBuffer
from consumer.tests.strategies import MIRRORED, OWN, OWN_TOO, PARTITIONS, an_envelope, moments, partitions, windows

WINDOW = 10
MAX_FUTURE = 100
NOW = 1_000_000
PLENTY = 1_000_000


def a_buffer(
    *assigned: Partition, window: int = WINDOW, max_events: int = PLENTY, max_bytes: int = PLENTY * 1000
) -> ReorderBuffer:
    buffer = ReorderBuffer(window_us=window, max_future_us=MAX_FUTURE, max_events=max_events, max_bytes=max_bytes)
    for partition in assigned:
        buffer.watermarks.assign(partition, None, NOW, has_unread=True)
    return buffer


def times(rows: Sequence[Row]) -> list[int]:
    return [row.envelope.time_us for row in rows]


def offer(buffer: ReorderBuffer, arrived: Sequence[Envelope], now_us: int) -> list[Row]:
    """Offer what was read at once, each partition by itself; return the late ones."""
    late: list[Row] = []
    for partition, group in groupby(arrived, lambda envelope: envelope.partition):
        late += buffer.offer(partition, list(group), now_us)
    return late


def let_out(buffer: ReorderBuffer) -> list[Row]:
    """Return all that it holds."""
    buffer.watermarks.raise_to(10 * NOW)
    return buffer.release()


def test_an_event_is_held_until_the_window_has_passed_over_it() -> None:
    buffer = a_buffer(OWN)
    offer(buffer, [an_envelope(0, time_us=50)], NOW)
    assert buffer.release() == []

    offer(buffer, [an_envelope(1, time_us=59)], NOW)
    assert buffer.release() == []

    offer(buffer, [an_envelope(2, time_us=60)], NOW)
    assert times(buffer.release()) == [50]


def test_what_arrives_out_of_order_within_the_window_comes_out_in_order() -> None:
    buffer = a_buffer(OWN)
    assert offer(buffer, [an_envelope(i, time_us=t) for i, t in enumerate((55, 50, 58, 48))], NOW) == []
    assert offer(buffer, [an_envelope(9, time_us=80)], NOW) == []

    assert times(buffer.release()) == [48, 50, 55, 58]


def test_the_tail_of_a_burst_comes_out_once_the_partition_is_known_to_be_empty_for_a_window() -> None:
    buffer = a_buffer(OWN)
    offer(buffer, [an_envelope(0, time_us=50)], NOW)
    buffer.watermarks.confirm_empty(OWN, NOW + WINDOW - 1)
    assert buffer.release() == []

    buffer.watermarks.confirm_empty(OWN, NOW + WINDOW)
    assert times(buffer.release()) == [50]


def test_an_event_at_the_watermark_is_in_time_and_one_before_it_is_late() -> None:
    buffer = a_buffer(OWN)
    offer(buffer, [an_envelope(0, time_us=50)], NOW)
    buffer.release()

    late = offer(buffer, [an_envelope(1, time_us=40), an_envelope(2, time_us=39)], NOW)

    assert late == [Row(late[0].envelope, Lateness("pipeline", 1))]
    assert late[0].envelope.offset == 2
    assert times(buffer.release()) == [40]


def test_what_is_read_together_arrives_together() -> None:
    buffer = a_buffer(OWN)

    assert offer(buffer, [an_envelope(0, time_us=500), an_envelope(1, time_us=5)], NOW) == []
    assert times(buffer.release()) == [5]


@pytest.mark.parametrize(
    ("partition", "received_us", "reason"),
    [
        (OWN, 100, "pipeline"),
        (OWN, 100 + WINDOW, "pipeline"),
        (OWN, 100 + WINDOW + 1, "delayed"),
        (MIRRORED, 100 + WINDOW, "replication_backlog"),
        (MIRRORED, 100 + WINDOW + 1, "delayed"),
    ],
)
def test_the_reason_says_where_the_time_went(partition: Partition, received_us: int, reason: LateReason) -> None:
    buffer = a_buffer(OWN, MIRRORED)
    buffer.watermarks.raise_to(100 + 1500)

    late = offer(buffer, [an_envelope(0, time_us=100, received_us=received_us, partition=partition)], NOW)

    assert [row.lateness for row in late] == [Lateness(reason, 2)]  # 1.5 ms, rounded up


@pytest.mark.parametrize("partition", [OWN, MIRRORED])
def test_what_one_dated_ahead_of_the_clock_made_late_says_so(partition: Partition) -> None:
    buffer = a_buffer(OWN, MIRRORED)
    for each in (OWN, MIRRORED):
        offer(buffer, [an_envelope(0, time_us=NOW + 50, received_us=NOW, partition=each)], NOW)
    buffer.release()

    late = offer(buffer, [an_envelope(1, time_us=NOW + 5, received_us=NOW + 5, partition=partition)], NOW + 5)

    assert [row.lateness for row in late] == [Lateness("overtaken", 1)]


def test_a_gateway_whose_clock_is_behind_makes_nothing_late() -> None:
    """The producer and this machine outvote it, whichever of the three gave the event its time."""
    buffer = a_buffer(OWN)
    slow_us = NOW - 10 * MAX_FUTURE

    assert offer(buffer, [an_envelope(0, time_us=NOW, received_us=slow_us, produced_us=NOW)], NOW) == []
    buffer.watermarks.confirm_empty(OWN, NOW + WINDOW)
    assert times(buffer.release()) == [NOW]


def test_when_a_copy_was_written_here_says_nothing_of_its_receipt() -> None:
    """A link that is slow: the clock of its order is that of the events that it brings."""
    buffer = a_buffer(MIRRORED)
    received_us = NOW - 10 * MAX_FUTURE
    copy = an_envelope(0, time_us=received_us, received_us=received_us, produced_us=NOW, partition=MIRRORED)
    offer(buffer, [copy], NOW)
    buffer.watermarks.confirm_empty(MIRRORED, NOW)

    assert buffer.release() == []


def test_what_is_held_of_some_partitions_can_be_held_by_another_buffer() -> None:
    buffer, other = a_buffer(OWN, OWN_TOO), a_buffer()
    for n in range(3):
        offer(buffer, [an_envelope(n, time_us=50 + n), an_envelope(n, time_us=53 - n, partition=OWN_TOO)], NOW)
        buffer.release()
    offer(buffer, [an_envelope(3, time_us=53), an_envelope(3, time_us=50, partition=OWN_TOO)], NOW)

    other.keep(buffer.withdraw({OWN_TOO}))

    assert (buffer.oldest_us, other.oldest_us) == (50, 50)
    assert [row.envelope.partition for row in let_out(buffer)] == [OWN] * 4
    assert times(let_out(other)) == [50, 51, 52, 53]
    assert buffer.room.held_bytes == other.room.held_bytes == 0
    assert (buffer.oldest_us, other.room.count) == (None, 0)


def test_an_event_from_too_far_in_the_future_is_stored_at_once_and_moves_nothing() -> None:
    buffer = a_buffer(OWN)
    offer(buffer, [an_envelope(0, time_us=50)], NOW)
    buffer.release()

    skewed = an_envelope(1, time_us=60 + MAX_FUTURE + 1, received_us=60)
    assert offer(buffer, [skewed], NOW) == [Row(skewed, Lateness("clock_skew", 1))]
    assert buffer.release() == []
    assert buffer.watermarks.merged_us == 40


def test_an_event_from_the_future_within_the_limit_is_waited_for() -> None:
    buffer = a_buffer(OWN)

    assert offer(buffer, [an_envelope(0, time_us=60 + MAX_FUTURE, received_us=60)], NOW) == []
    assert buffer.room.count == 1


def test_a_gateway_whose_clock_is_ahead_moves_nothing_with_the_time_it_gives_to_events_that_came_without() -> None:
    buffer = a_buffer(OWN)
    ahead_us = NOW + MAX_FUTURE + 1
    dated = an_envelope(0, time_us=ahead_us, received_us=ahead_us, produced_us=NOW - 5)

    assert offer(buffer, [dated], NOW) == [Row(dated, Lateness("clock_skew", 1))]
    assert buffer.release() == []
    assert buffer.watermarks.merged_us is None


@pytest.mark.parametrize(("produced_us", "now_us"), [(NOW, NOW - 10 * MAX_FUTURE), (NOW - 10 * MAX_FUTURE, NOW)])
def test_one_slow_clock_behind_the_gateway_does_not_make_the_present_the_future(produced_us: int, now_us: int) -> None:
    buffer = a_buffer(OWN)

    assert offer(buffer, [an_envelope(0, time_us=NOW, received_us=NOW, produced_us=produced_us)], now_us) == []


def test_a_machine_whose_clock_is_slow_does_not_hold_the_end_of_a_burst_back() -> None:
    """What is empty holds back by two windows of the gateways' clock: one that is believed, for the producer's agrees."""
    slow_us = NOW - 10 * MAX_FUTURE
    buffer = a_buffer()
    for partition in (OWN, MIRRORED):
        buffer.watermarks.assign(partition, 3, slow_us, has_unread=False)
    offer(buffer, [an_envelope(0, time_us=NOW, received_us=NOW, produced_us=NOW)], slow_us)
    for partition in (OWN, MIRRORED):
        buffer.watermarks.confirm_empty(partition, slow_us + 2 * WINDOW)

    assert times(buffer.release()) == [NOW]


def test_events_of_one_partition_with_the_same_time_keep_the_order_of_their_offsets() -> None:
    buffer = a_buffer(OWN)
    for offset in range(4):
        offer(buffer, [an_envelope(offset, number=9 - offset, time_us=50)], NOW)
    offer(buffer, [an_envelope(4, time_us=60)], NOW)

    assert [row.envelope.offset for row in buffer.release()] == [0, 1, 2, 3]


def test_a_full_buffer_lets_the_oldest_out_early_in_order_and_later_ones_for_that_time_are_late() -> None:
    buffer = a_buffer(OWN, max_events=4)
    offer(buffer, [an_envelope(i, time_us=50 + i) for i in (3, 1, 5, 2, 4)], NOW)
    assert buffer.release() == []  # a quarter of slack

    offer(buffer, [an_envelope(0, time_us=50)], NOW)
    assert times(buffer.release()) == [50, 51]
    assert buffer.watermarks.merged_us == 51

    late = offer(buffer, [an_envelope(9, time_us=50), an_envelope(10, time_us=51)], NOW)
    assert times(late) == [50]


@pytest.mark.parametrize("held", range(10))
def test_what_there_is_room_for_forces_nobody_out_and_one_more_does(held: int) -> None:
    buffer = a_buffer(OWN, max_events=8)
    offer(buffer, [an_envelope(i, time_us=50) for i in range(held)], NOW)
    assert buffer.release() == []

    full = held + buffer.room.left_with_slack
    offer(buffer, [an_envelope(i, time_us=50) for i in range(held, full)], NOW)
    assert buffer.release() == []

    offer(buffer, [an_envelope(full, time_us=50)], NOW)
    assert buffer.release() != []


def test_a_full_buffer_still_has_room_for_one_so_that_reading_never_stops() -> None:
    buffer = a_buffer(OWN, max_events=4)
    offer(buffer, [an_envelope(i, time_us=50) for i in range(5)], NOW)
    buffer.release()

    assert buffer.room.left_with_slack == 1


def test_bytes_that_are_about_to_leave_force_nobody_out() -> None:
    buffer = a_buffer(OWN, max_bytes=100)
    offer(buffer, [an_envelope(0, time_us=10, size=20)], NOW)
    offer(buffer, [an_envelope(1, time_us=50, size=60), an_envelope(2, time_us=51, size=60)], NOW)

    # 140 are too many, but 20 of them leave by themselves, and 120 are within the quarter of slack.
    assert times(buffer.release()) == [10]
    assert buffer.room.held_bytes == 120


def test_one_event_larger_than_the_buffer_does_not_stay_in_it() -> None:
    buffer = a_buffer(OWN, max_bytes=100)
    offer(buffer, [an_envelope(0, time_us=50, size=1000)], NOW)

    assert times(buffer.release()) == [50]
    assert buffer.room.held_bytes == 0


def test_partitions_that_are_ahead_are_paused_from_a_full_buffer_down_to_a_half_full_one() -> None:
    buffer = a_buffer(OWN, MIRRORED, max_events=4)
    offer(buffer, [an_envelope(0, time_us=50, partition=MIRRORED)], NOW)
    offer(buffer, [an_envelope(i, time_us=80 + i) for i in range(2)], NOW)
    buffer.release()
    assert buffer.throttle() == frozenset()

    offer(buffer, [an_envelope(5, time_us=85)], NOW)
    buffer.release()
    assert buffer.throttle() == {OWN}

    offer(buffer, [an_envelope(1, time_us=60, partition=MIRRORED)], NOW)
    buffer.release()  # 50 leaves, 60 came
    assert buffer.throttle() == {OWN}

    offer(buffer, [an_envelope(2, time_us=92, partition=MIRRORED)], NOW)
    buffer.release()
    assert buffer.room.count == 4
    assert buffer.throttle() == {OWN} or buffer.throttle() == {MIRRORED}

    offer(buffer, [an_envelope(6, time_us=200), an_envelope(3, time_us=200, partition=MIRRORED)], NOW)
    buffer.release()
    assert buffer.room.count == 2
    assert buffer.throttle() == frozenset()


def test_to_ask_what_is_paused_changes_nothing() -> None:
    buffer = a_buffer(OWN, MIRRORED, max_events=2)
    offer(buffer, [an_envelope(0, time_us=50, partition=MIRRORED), an_envelope(0, time_us=80)], NOW)
    assert buffer.paused == frozenset()
    assert buffer.throttle() == {OWN}

    buffer.withdraw([OWN, MIRRORED])
    assert buffer.paused == {OWN}
    assert buffer.paused == {OWN}
    assert set(buffer.shares(PLENTY)) == {MIRRORED}
    assert buffer.throttle() == frozenset()


@dataclass(frozen=True)
class Arrival:
    partition: Partition
    time_us: int
    received_us: int
    produced_us: int
    size: int


@st.composite
def readings(draw: st.DrawFn) -> list[list[Envelope]]:
    """Batches as they are read, offsets rising in each partition; some events from the future."""
    arrival = st.builds(
        Arrival,
        partitions,
        moments | st.integers(120, 200),
        st.integers(0, 60),
        st.integers(-150, 60),
        st.sampled_from([0, 1, 3, 10]),
    )
    offsets: dict[Partition, int] = defaultdict(int)
    batches: list[list[Envelope]] = []
    number = 0
    for batch in draw(st.lists(st.lists(arrival, max_size=8), min_size=1, max_size=12)):
        envelopes = []
        for a in batch:
            number += 1
            offset = offsets[a.partition] = offsets[a.partition] + 1
            envelopes.append(
                an_envelope(
                    offset,
                    number=number,
                    time_us=a.time_us,
                    received_us=a.received_us,
                    produced_us=a.produced_us,
                    partition=a.partition,
                    size=a.size,
                )
            )
        batches.append(envelopes)
    return batches


def spec_late(
    envelope: Envelope, watermark_us: int | None, window_us: int, now_us: int
) -> tuple[LateReason, int] | None:
    """What the design says about lateness, in a slow restatement; the amount in microseconds."""
    believed_us = sorted([envelope.received_us, envelope.produced_us, now_us])[1]
    if envelope.time_us - believed_us > MAX_FUTURE:
        # Of its receipt, unless that lies ahead of both other clocks.
        return "clock_skew", envelope.time_us - min(envelope.received_us, max(envelope.produced_us, now_us))
    if watermark_us is None or envelope.time_us >= watermark_us:
        return None
    reason: LateReason
    if envelope.received_us - envelope.time_us > window_us:
        reason = "delayed"
    elif envelope.partition == MIRRORED:
        reason = "replication_backlog"
    else:
        reason = "pipeline"
    return reason, watermark_us - envelope.time_us


@given(
    batches=readings(),
    window=windows,
    limits=st.tuples(st.sampled_from([1, 2, 4, 7, PLENTY]), st.sampled_from([1, 9, 20, PLENTY])),
    empties=st.lists(st.tuples(partitions, st.integers(0, 12))),
    now=st.sampled_from([-200, 0, NOW]),
)
def test_the_promises_hold_for_any_arrivals(
    batches: list[list[Envelope]],
    window: int,
    limits: tuple[int, int],
    empties: list[tuple[Partition, int]],
    now: int,
) -> None:
    """Each event comes out once, in order or late with its reason, and the buffer keeps its bounds."""
    max_events, max_bytes = limits
    buffer = a_buffer(window=window, max_events=max_events, max_bytes=max_bytes)
    for partition in PARTITIONS:
        buffer.watermarks.assign(partition, None, now, has_unread=True)
    held: dict[tuple[Partition, int], Envelope] = {}
    in_order: list[int] = []
    out: list[Row] = []
    proofs = deque(empties)

    for batch in batches:
        now += 3
        before, is_ahead = buffer.watermarks.merged_us, buffer.watermarks.is_ahead_of_the_clock(now)
        late = sorted(offer(buffer, batch, now))

        expected = [(e, spec_late(e, before, window, now)) for e in sorted(batch)]
        assert [row.envelope for row in late] == [e for e, lateness in expected if lateness]
        for row, (reason, by_us) in zip(late, [x for _, x in expected if x], strict=True):
            assert row.lateness is not None
            # What is read with others may bring the clock to where the watermark is.
            assert row.lateness.reason == reason or (row.lateness.reason == "overtaken" and is_ahead)
            assert row.lateness.reason == reason or reason in {"pipeline", "replication_backlog"}
            assert row.lateness.by_ms > 0
            assert (row.lateness.by_ms - 1) * 1000 < by_us <= row.lateness.by_ms * 1000
        held.update(((e.partition, e.offset), e) for e, lateness in expected if not lateness)
        assert buffer.room.count == len(held)
        assert buffer.room.held_bytes == sum(len(e.value) for e in held.values())

        if proofs:
            partition, length = proofs.popleft()
            buffer.watermarks.confirm_empty(partition, now + length)
        released = buffer.release()
        for row in released:
            assert row.lateness is None
            del held[row.envelope.partition, row.envelope.offset]  # fails for one that came out before
        out += [*late, *released]
        in_order += times(released)
        merged = buffer.watermarks.merged_us
        assert merged is None or all(e.time_us >= merged for e in held.values())
        # The bound of the code: a quarter above the limits, whatever was offered.
        assert buffer.room.count <= max_events * 5 // 4
        assert buffer.room.held_bytes <= max_bytes * 5 // 4
        assert buffer.room.held_bytes == sum(len(e.value) for e in held.values())

    assert in_order == sorted(in_order)
    assert len(out) + len(held) == sum(map(len, batches))
    by_partition = defaultdict(list)
    for row in out:
        if row.lateness is None:
            by_partition[row.envelope.partition, row.envelope.time_us].append(row.envelope.offset)
    assert all(offsets == sorted(offsets) for offsets in by_partition.values())


@given(batches=readings(), window=windows, max_bytes=st.sampled_from([9, 20, 40]))
def test_nothing_is_forced_out_while_what_would_remain_is_within_the_slack(
    batches: list[list[Envelope]], window: int, max_bytes: int
) -> None:
    buffer = a_buffer(*PARTITIONS, window=window, max_bytes=max_bytes)
    held: dict[tuple[Partition, int], Envelope] = {}
    for batch in batches:
        late = {row.envelope.order for row in offer(buffer, batch, NOW)}
        held.update(((e.partition, e.offset), e) for e in batch if e.order not in late)
        watermark = buffer.watermarks.advance()
        remaining = [e for e in held.values() if watermark is None or e.time_us > watermark]

        for row in buffer.release():
            del held[row.envelope.partition, row.envelope.offset]

        if sum(len(e.value) for e in remaining) <= max_bytes * 5 // 4:
            assert len(held) == len(remaining)


class Reader:
    """
    Reads backlogs as a Kafka client does: only partitions that are not paused, each in turn.

    Args:
        backlogs: The event times of each partition, in offset order.
        buffer: Where they go.
        per_poll: Records read at once.
    """

    def __init__(self, backlogs: Mapping[Partition, Sequence[int]], buffer: ReorderBuffer, per_poll: int) -> None:
        self._backlogs = backlogs
        self._positions = dict.fromkeys(backlogs, 0)
        self._buffer = buffer
        self._per_poll = per_poll
        self._now = NOW
        self.rows: list[Row] = []
        self.most_held = 0
        for partition, backlog in backlogs.items():
            buffer.watermarks.assign(partition, None, self._now, has_unread=bool(backlog))

    def turn(self) -> bool:
        """Read once; return whether anything moved: a record, or the clock of a partition that may be read."""
        self._now += 1
        paused = self._buffer.throttle()
        turned: list[Envelope] = []
        for partition in self._turn_order():
            if partition in paused:
                continue
            position, backlog = self._positions[partition], self._backlogs[partition]
            end = min(position + self._per_poll - len(turned), len(backlog))
            turned += [an_envelope(o, time_us=backlog[o], partition=partition) for o in range(position, end)]
            self._positions[partition] = end
            if position == len(backlog):
                self._buffer.watermarks.confirm_empty(partition, self._now)
        self.rows += offer(self._buffer, turned, self._now)
        self.rows += self._buffer.release()
        self.most_held = max(self.most_held, self._buffer.room.count)
        unread = {p for p, position in self._positions.items() if position < len(self._backlogs[p])}
        return bool(turned) or not unread

    def _turn_order(self) -> Iterator[Partition]:
        names = list(self._backlogs)
        start = self._now % len(names)
        yield from names[start:] + names[:start]

    @property
    def finished(self) -> bool:
        return not self._buffer.room.count and all(
            position == len(self._backlogs[p]) for p, position in self._positions.items()
        )


def read_all(backlogs: Mapping[Partition, Sequence[int]], *, max_events: int, per_poll: int, window: int) -> Reader:
    """Read everything; fail where no turn makes progress any more."""
    buffer = a_buffer(window=window, max_events=max_events)
    reader = Reader(backlogs, buffer, per_poll)
    total = sum(map(len, backlogs.values()))
    span = max((t for b in backlogs.values() for t in b), default=0)
    standstill = 0
    for _ in range(3 * total + 3 * (span + window) + 20):
        standstill = 0 if reader.turn() else standstill + 1
        # Two turns may be needed to learn that the slowest partition was read to its end.
        assert standstill <= 2 * len(backlogs), "nothing can be read, and nothing comes out"
        if reader.finished:
            break

    assert reader.finished
    assert len({(r.envelope.partition, r.envelope.offset) for r in reader.rows}) == len(reader.rows) == total
    return reader


SHAPES = {
    "one window's burst larger than the buffer": {OWN: [5] * 100, OWN_TOO: [5] * 100, MIRRORED: []},
    "a partition whose clock is slow": {OWN: list(range(500, 600)), OWN_TOO: list(range(50)), MIRRORED: []},
    "an old backlog of the mirror": {
        OWN: list(range(300, 400)),
        OWN_TOO: list(range(300, 400)),
        MIRRORED: [*range(90)],
    },
    "all in one partition": {OWN: list(range(300)), OWN_TOO: [], MIRRORED: []},
    "very skewed": {OWN: list(range(300)), OWN_TOO: [1], MIRRORED: [299]},
    "one old event that nothing follows": {OWN: list(range(400, 500)), OWN_TOO: [0], MIRRORED: []},
    "backwards": {OWN: list(range(100, 0, -1)), OWN_TOO: list(range(100)), MIRRORED: []},
}


@pytest.mark.parametrize("max_events", [1, 4, 10, 1000])
@pytest.mark.parametrize("per_poll", [1, 3, 50])
@pytest.mark.parametrize("shape", SHAPES)
def test_pausing_never_stops_everything(shape: str, per_poll: int, max_events: int) -> None:
    read_all(SHAPES[shape], max_events=max_events, per_poll=per_poll, window=WINDOW)


@given(
    backlogs=st.fixed_dictionaries({p: st.lists(moments, max_size=25) for p in PARTITIONS}),
    max_events=st.integers(1, 8),
    per_poll=st.integers(1, 10),
    window=windows,
)
def test_any_backlog_gets_out_in_the_end(
    backlogs: Mapping[Partition, Sequence[int]], max_events: int, per_poll: int, window: int
) -> None:
    reader = read_all(backlogs, max_events=max_events, per_poll=per_poll, window=window)

    assert reader.most_held <= max_events * 5 // 4


def test_pausing_keeps_skewed_backlogs_in_order_that_would_not_fit_otherwise() -> None:
    backlogs = {OWN: list(range(300)), OWN_TOO: list(range(300)), MIRRORED: list(range(300))}

    reader = read_all(backlogs, max_events=60, per_poll=10, window=WINDOW)

    assert [row for row in reader.rows if row.lateness] == []


@dataclass
class Fetched:
    """
    A backlog behind a client that fetches ahead: what it holds ready runs dry, and more of it comes when it comes.

    Args:
        times: Event times, in offset order.
        response: Records fetched at once.
        delay: Turns until the next ones are there.
    """

    times: Sequence[int]
    response: int
    delay: Callable[[], int]
    position: int = 0
    ready: int = 0
    due: int = 0

    def read(self, turn: int, share: int) -> range:
        if self.position == self.ready and turn >= self.due:
            self.ready = min(self.ready + self.response, len(self.times))
        offsets = range(self.position, min(self.position + share, self.ready))
        self.position = offsets.stop
        if offsets and self.position == self.ready:
            self.due = turn + self.delay()
        return offsets

    @property
    def at_its_end(self) -> bool:
        return self.position == len(self.times)


@given(
    count=st.integers(1, 12),
    window=st.integers(12, 100),
    windows_held=st.integers(4, 10),
    response=st.integers(1, 150),
    slowest=st.integers(0, 10),
    limit=st.integers(1, 400),
    seed=st.integers(0, 1000),
)
# What made the late events of an outage's backlog: the last room was given to the first that came.
@example(count=12, window=50, windows_held=8, response=149, slowest=3, limit=200, seed=2)
@example(count=12, window=50, windows_held=8, response=140, slowest=4, limit=200, seed=8)
def test_who_reads_the_shares_keeps_any_backlog_in_order(
    *, count: int, window: int, windows_held: int, response: int, slowest: int, limit: int, seed: int
) -> None:
    """
    All partitions cover the same time.

    One that was emptied before the next is read would fill the buffer, and make late what the others hold. So would one that
    has run dry, and finds all the room that those ahead of it have left.
    """
    random = Random(seed)
    assigned = [Partition("logs", number) for number in range(count)]
    buffer = a_buffer(*assigned, window=window, max_events=windows_held * window)
    backlogs = {
        partition: Fetched(range(number, 300 * count, count), response, lambda: random.randint(0, slowest))
        for number, partition in enumerate(assigned)
    }
    late: list[Row] = []
    turn = 0
    while not all(backlog.at_its_end for backlog in backlogs.values()):
        turn += 1
        assert turn < 100_000, "some backlog is never read"
        polled: list[Envelope] = []
        for partition, share in buffer.shares(limit).items():
            times, offsets = backlogs[partition].times, backlogs[partition].read(turn, share)
            polled += [an_envelope(n, time_us=times[n], received_us=times[n], partition=partition) for n in offsets]
        late += offer(buffer, polled, NOW)
        for partition, backlog in backlogs.items():
            if backlog.at_its_end:
                buffer.watermarks.confirm_empty(partition, NOW)
        buffer.release()
        buffer.throttle()

    assert late == []


@pytest.mark.parametrize("size", [1, 100])
def test_while_bytes_are_short_there_is_room_for_as_many_as_fit_if_they_are_as_large(size: int) -> None:
    buffer = a_buffer(OWN, MIRRORED, max_bytes=100 * size)
    assert sum(buffer.shares(PLENTY).values()) == PLENTY  # how large they are is not known yet

    offer(buffer, [an_envelope(n, time_us=50, size=size) for n in range(90)], NOW)
    buffer.release()

    assert buffer.shares(PLENTY) == {OWN: 3, MIRRORED: 6}  # the other one is what everything waits for
    assert buffer.room.left_with_slack == 35


def test_an_empty_partition_with_an_old_stored_watermark_stops_nobody() -> None:
    buffer = a_buffer(OWN)
    buffer.watermarks.assign(OWN_TOO, 3, NOW, has_unread=False)
    offer(buffer, [an_envelope(0, time_us=500)], NOW)
    released: list[Row] = []
    for step in range(1, 2 * WINDOW + 1):
        for partition in (OWN, OWN_TOO):
            buffer.watermarks.confirm_empty(partition, NOW + step)
        released += buffer.release()

    assert times(released) == [500]
