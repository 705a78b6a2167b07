from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random

import pytest

from hypothesis import example, given
from hypothesis import strategies as st

from consumer.envelope import Envelope, Partition, Row
from consumer.orders import _RESERVED, Orders
from consumer.tests.strategies import MIRRORED, OWN, OWN_TOO, REGION, an_envelope
from shared.wire.regions import LOGS, mirrored_topic

WINDOW = 20
PATIENCE = 5
NOW = 1_000_000
PLENTY = 1_000_000
THIRD = Partition(mirrored_topic("region-c"), 0)


def orders(*assigned: Partition, max_events: int = PLENTY, max_bytes: int = 10**9, unread: bool = False) -> Orders:
    fresh = Orders(
        region=REGION,
        window_us=WINDOW,
        max_future_us=1000,
        max_events=max_events,
        max_bytes=max_bytes,
        patience_us=PATIENCE,
    )
    for partition in assigned:
        fresh.assign(partition, None, NOW, has_unread=unread)
    return fresh


def at(time_us: int, offset: int = 0, partition: Partition = OWN, received_us: int | None = None) -> Envelope:
    return an_envelope(offset, time_us=time_us, received_us=received_us, partition=partition, size=1)


def released(these: Orders) -> list[tuple[str, int]]:
    return [(row.order, row.envelope.time_us) for rows in these.release() for row in rows]


def test_each_region_has_its_own_order() -> None:
    these = orders(OWN, MIRRORED, THIRD, unread=True)
    these.offer([at(NOW), at(NOW + WINDOW, 1)], NOW)
    assert released(these) == [("", NOW)]

    assert these.offer([at(5, 0, MIRRORED), at(5 + WINDOW, 1, MIRRORED), at(9, 0, THIRD)], NOW) == []
    assert released(these) == [("region-b", 5)]
    assert these.resume_point(OWN) == NOW
    assert these.resume_point(MIRRORED) == 5
    assert these.resume_point(THIRD) == 9 - WINDOW


def test_what_is_late_says_for_which_order() -> None:
    these = orders(MIRRORED)
    these.offer([at(500, 0, MIRRORED)], NOW)
    these.release()

    assert [row.order for row in these.offer([at(1, 1, MIRRORED)], NOW)] == ["region-b"]


LATER = NOW + PATIENCE


def behind(these: Orders) -> None:
    """Let `OWN_TOO` have more old events than are read, while `OWN` is read to its end."""
    these.offer([at(NOW, 0), at(100, 0, OWN_TOO, NOW)], NOW)
    these.release()
    these.confirm_empty(OWN, LATER)
    assert these.watermark_us == 100 - WINDOW


def test_who_cannot_keep_up_goes_on_in_an_order_of_its_own_with_what_is_held_of_it() -> None:
    these = orders(OWN, OWN_TOO)
    behind(these)
    late = these.offer([at(101, 1, OWN_TOO, NOW), at(100 + WINDOW, 2, OWN_TOO, NOW)], LATER + 1)
    these.confirm_empty(OWN, NOW + WINDOW)

    assert late == []
    assert released(these) == [("", NOW), ("region-a/1", 100)]


def test_it_comes_back_when_it_is_read_to_its_end() -> None:
    these = orders(OWN, OWN_TOO)
    behind(these)
    these.offer([], LATER + 1)
    assert len(these._buffers) == 2
    now = LATER + 1
    for offset in range(1, 4 * WINDOW):
        now += 1
        these.offer([at(now, offset), at(now, offset, OWN_TOO)], now)
        for partition in (OWN, OWN_TOO):
            these.confirm_empty(partition, now)
        last = released(these)

    assert {name for name, _ in last} == {""}
    assert len(these._buffers) == 1


def test_what_was_told_to_a_successor_does_not_go_back_when_it_comes_back() -> None:
    these = orders(OWN, OWN_TOO)
    behind(these)
    told = -1
    for step in range(1, 200):
        now = LATER + step
        # Read to its end long before the others, and the newest of all.
        these.offer([at(now, step, OWN_TOO)] + ([at(now, step)] if step % 7 == 0 else []), now)
        for partition in (OWN, OWN_TOO):
            these.confirm_empty(partition, now - 2)
        these.release()
        point = these.resume_point(OWN_TOO)
        assert point is not None
        assert point >= told
        told = point


def test_while_all_are_behind_they_stay_together() -> None:
    these = orders(OWN, OWN_TOO, unread=True)
    these.offer([at(500), at(100, 0, OWN_TOO)], NOW)
    these.offer([], NOW + 10 * WINDOW)

    assert len(these._buffers) == 1


def test_an_order_can_have_what_the_others_leave_but_not_what_is_reserved_for_them() -> None:
    these = orders(OWN, MIRRORED, max_events=80, unread=True)
    room = {name: buffer.room.left_with_slack for name, buffer in these._buffers.items()}
    assert room == {"": 100, "region-b": 100}

    these.offer([at(NOW, offset) for offset in range(200)], NOW)
    these.release()
    these.offer([], NOW)
    assert these._buffers[""].room.max_events == 60
    assert these._buffers["region-b"].room.max_events == 20
    assert OWN not in these.throttle()  # it is the one that everything in its order waits for
    assert set(these.shares(100)) == {OWN, MIRRORED}


def test_of_large_events_fewer_are_read_at_once() -> None:
    these = orders(OWN, OWN_TOO, MIRRORED, max_bytes=8 * 3 * 1000)
    assert sum(these.shares(3000).values()) == 3  # how large they are is not known yet

    these.offer([an_envelope(0, size=10), an_envelope(1, size=100)], NOW)
    for step in range(30):
        these.offer([an_envelope(2 + step, size=100)], NOW)
    assert sum(these.shares(3000).values()) == 30

    these.offer([an_envelope(100, size=1000)], NOW)
    assert sum(these.shares(3000).values()) == 3


class Log:
    """
    A partition as the broker and a fetching client show it.

    Args:
        partition: Its name.
        fetch: Ticks from one answer to the next.
    """

    def __init__(self, partition: Partition, fetch: int) -> None:
        self.partition = partition
        self.records: list[tuple[int, int]] = []  # event time, receipt
        self.read_to = self.ready = 0
        self.answers = True
        self._fetch = fetch
        self._answered = self._before = NOW
        self._is_told = True

    def write(self, time_us: int, received_us: int) -> None:
        self.records.append((time_us, received_us))

    def poll(self, now: int, share: int) -> list[Envelope]:
        """Return what the client has; it fetches when that is read, and gets all there is."""
        if self.answers and self.read_to == self.ready and now >= self._answered + self._fetch:
            self._before, self._answered, self._is_told = self._answered, now, False
            self.ready = len(self.records)
        offsets = range(self.read_to, min(self.read_to + share, self.ready))
        self.read_to = offsets.stop
        return [
            an_envelope(n, time_us=self.records[n][0], received_us=self.records[n][1], partition=self.partition, size=1)
            for n in offsets
        ]

    def known_empty(self) -> int | None:
        """Return until when nothing is known to have been unread, once for each answer."""
        if self._is_told or self.read_to < self.ready:
            return None
        self._is_told = True
        return self._before


class Consumer:
    """Reads logs as `consumer.assignment` does, and notes how long what is fresh has waited."""

    def __init__(self, logs: Sequence[Log], max_events: int) -> None:
        self.logs = logs
        self.orders = orders(*(log.partition for log in logs), max_events=max_events)
        self.rows: list[Row] = []
        self.waits: dict[Partition, list[int]] = defaultdict(list)

    def turn(self, now: int, limit: int) -> None:
        paused = self.orders.throttle()
        shares = self.orders.shares(limit)
        polled = {
            log.partition: [] if log.partition in paused else log.poll(now, shares.get(log.partition, 0))
            for log in self.logs
        }
        empty = {log.partition: moment for log in self.logs if (moment := log.known_empty()) is not None}
        late = self.orders.offer([envelope for envelopes in polled.values() for envelope in envelopes], now)
        for partition, moment in empty.items():
            self.orders.confirm_empty(partition, moment)
        out = [*late, *(row for rows in self.orders.release() for row in rows)]
        self.rows += out
        for row in out:
            self.waits[row.envelope.partition].append(now - row.envelope.received_us)

    def check(self) -> None:
        """Each is there at most once, and each order is in order."""
        places = [(row.envelope.partition, row.envelope.offset) for row in self.rows]
        assert len(set(places)) == len(places)
        newest: dict[str, int] = {}
        for row in self.rows:
            if row.lateness is None:
                assert row.envelope.time_us >= newest.get(row.order, 0)
                newest[row.order] = row.envelope.time_us


Burden = Callable[[int, Sequence[Log], Random], None]
OTHERS = (MIRRORED, MIRRORED._replace(number=1), THIRD)


def slow_mirror(now: int, logs: Sequence[Log], _: Random) -> None:
    """Two links bring everything, long after it was received."""
    for log in logs:
        if log.partition in OTHERS:
            log.write(now - 1000 - log.partition.number, now - 1000 - log.partition.number)


def healed_link(now: int, logs: Sequence[Log], random: Random) -> None:
    """After a long split a link copies faster than the consumer reads."""
    for log in logs:
        if log.partition in OTHERS:
            for _ in range(random.randint(0, 12)):
                time_us = NOW - 5000 + len(log.records)
                log.write(min(time_us, now), min(time_us, now))


def import_of_history(now: int, logs: Sequence[Log], random: Random) -> None:
    """Old events are written into one partition of the region, faster than it is read."""
    for _ in range(random.randint(5, 15)):
        logs[0].write(1000 + len(logs[0].records), now)


def trickle_of_history(now: int, logs: Sequence[Log], _: Random) -> None:
    """Old events are written into one partition of the region; there are some in every answer."""
    logs[0].write(1000 + len(logs[0].records), now)


def without_leader(now: int, logs: Sequence[Log], random: Random) -> None:
    """No broker answers for a partition, then its leader is back, again and again."""
    logs[0].write(now, now)
    if random.random() < 0.02:
        logs[0].answers = not logs[0].answers


def nothing(_now: int, _logs: Sequence[Log], _random: Random) -> None:
    """Nothing is in the way."""


BURDENS: tuple[Burden, ...] = (
    nothing,
    slow_mirror,
    healed_link,
    import_of_history,
    trickle_of_history,
    without_leader,
)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("burden", BURDENS, ids=lambda burden: burden.__name__)
def test_what_is_fresh_is_stored_within_two_windows_and_a_fetch_whatever_else_there_is(
    burden: Burden, seed: int
) -> None:
    """The partitions that are read to their ends wait for none of the others, and nothing of them is late."""
    random = Random(seed)
    fetch, rate, limit = random.randint(1, 2), random.choice([0.2, 1, 2]), random.randint(20, 60)
    fresh = [Log(Partition(LOGS, number), fetch) for number in (1, 2)]
    logs = [Log(OWN, fetch), *fresh, *(Log(partition, fetch) for partition in OTHERS)]
    consumer = Consumer(logs, max_events=1000)
    for now in range(NOW, NOW + 250):
        burden(now, logs, random)
        for log in fresh:
            for _ in range(int(rate) + (random.random() < rate % 1)):
                log.write(now - random.randint(0, WINDOW // 4), now)
        consumer.turn(now, limit)

    consumer.check()
    waits = [wait for log in fresh for wait in consumer.waits[log.partition]]
    # One fetch until it is read, one until the next one proves that nothing else was there; and the turn after that.
    assert max(waits) <= 2 * WINDOW + PATIENCE + 2 * fetch + 2
    assert not any(row.lateness for row in consumer.rows if row.envelope.partition.number and not row.envelope.mirrored)
    written = sum(len(log.records) for log in fresh)
    assert len(waits) >= written - 2 * (int(rate) + 1) * (2 * WINDOW + PATIENCE + 2 * fetch + 2)


@pytest.mark.parametrize("silent", [False, True])
def test_a_full_buffer_waits_for_what_is_only_being_looked_at(silent: bool) -> None:  # noqa: FBT001
    these = orders(OWN, OWN_TOO, max_events=4)
    these.offer([at(NOW, 0), at(NOW, 0, OWN_TOO)], NOW)
    these.confirm_empty(OWN, NOW)
    these.confirm_empty(OWN_TOO, NOW)

    these.doubt([OWN_TOO], [OWN_TOO] if silent else [])
    these.offer([at(NOW + WINDOW + n, n) for n in range(1, 4)], NOW + 1)

    assert set(these.throttle()) == (set() if silent else {OWN})


def test_what_is_assigned_to_nobody_here_is_in_no_doubt() -> None:
    these = orders(OWN)
    these.doubt([THIRD], [])
    assert set(these.shares(10)) == {OWN}


def test_where_no_partition_is_assigned_there_is_nothing_to_share_out() -> None:
    these = orders()

    assert these.offer([], NOW) == []
    assert these.release() == []
    assert these.shares(10) == {}
    assert these.watermark_us is None


@dataclass
class Backlog:
    """What a client has fetched of a partition's backlog, and what it has not yet."""

    partition: Partition
    times: Sequence[int]
    response: int
    position: int = 0
    ready: int = 0

    def poll(self, share: int) -> list[Envelope]:
        offsets = range(self.position, min(self.position + share, self.ready))
        self.position = offsets.stop
        return [
            an_envelope(n, time_us=self.times[n], received_us=self.times[n], partition=self.partition, size=1)
            for n in offsets
        ]

    @property
    def is_read(self) -> bool:
        return self.position == len(self.times)


@given(
    counts=st.lists(st.integers(1, 6), min_size=2, max_size=3),
    windows_held=st.integers(4, 8),
    response=st.integers(1, 150),
    answers=st.floats(0.1, 1),
    limit=st.integers(1, 400),
    seed=st.integers(0, 1000),
)
# Two orders took the same free room at once.
@example(counts=[1, 3, 6], windows_held=4, response=75, answers=0.5, limit=170, seed=0)
def test_who_reads_the_shares_keeps_the_backlogs_of_all_orders_in_order(
    *, counts: Sequence[int], windows_held: int, response: int, answers: float, limit: int, seed: int
) -> None:
    """
    Each order has so many windows of events reserved for it, and may use what the others leave.

    With two windows, one order's oldest events made room while the other one had the rest of the buffer.
    """
    random = Random(seed)
    regions = ("", "region-b", "region-c")
    partitions = [
        [Partition(mirrored_topic(region) if region else LOGS, number) for number in range(count)]
        for region, count in zip(regions, counts, strict=False)
    ]
    reserved = windows_held * WINDOW
    these = orders(*chain(*partitions), max_events=int(reserved * len(counts) / _RESERVED), unread=True)
    backlogs = [
        Backlog(partition, range(number, 25 * WINDOW, len(order)), response)
        for order in partitions
        for number, partition in enumerate(order)
    ]
    late: list[Row] = []
    turn = 0
    while not all(backlog.is_read for backlog in backlogs):
        turn += 1
        assert turn < 100_000, "a backlog is never read"
        for backlog in backlogs:
            if backlog.position == backlog.ready and random.random() < answers:
                backlog.ready = min(backlog.ready + backlog.response, len(backlog.times))
        paused, shares = these.throttle(), these.shares(limit)
        polled = [b.poll(0 if b.partition in paused else shares.get(b.partition, 0)) for b in backlogs]
        late += these.offer(list(chain(*polled)), NOW)
        for backlog in backlogs:
            if backlog.is_read:
                these.confirm_empty(backlog.partition, NOW)
        these.release()

    assert late == []
