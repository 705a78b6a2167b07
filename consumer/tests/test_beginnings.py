"""Where to begin is decided by a few numbers; here against a model of a log that loses its beginning, its end, and itself."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumer.beginnings import Beginning, Log, beginning, fingerprint
from consumer.decode import UnreadableRecord
from consumer.ports import KnownLog, Progress
from consumer.tests.fakes import MemoryRecord

KNOWN = KnownLog("topic", 99, 7, 120)


def begun(known: KnownLog = KNOWN, next_offset: int | None = 100, **log: Any) -> Beginning:
    there = replace(Log(0, 150, 100, "topic", 7), **log)
    return beginning(Progress(next_offset, 5, known), there)


def test_the_log_that_was_left_is_read_on_behind_the_last_record() -> None:
    found = begun()

    assert (found.offset, found.changed, found.skipped) == (100, None, {})
    assert found.progress == Progress(100, 5, replace(KNOWN, end=150))


def test_the_smaller_of_what_kafka_and_the_store_remember_counts() -> None:
    assert begun(committed=40).offset == 40
    assert begun(committed=140).offset == 100
    assert begun(committed=None).offset == 0, "the group was reset"


def test_what_came_after_the_last_record_that_is_known_is_read_again() -> None:
    """Up to there the log is known to be the same; behind it might be others now."""
    assert begun(replace(KNOWN, last_offset=90)).offset == 91


def test_what_retention_removed_is_counted_from_what_is_durable() -> None:
    found = begun(beginning=110, committed=60, record=None)

    assert (found.offset, found.skipped) == (110, {"retention": 10})
    assert found.progress.next_offset == 110, "a second look tells nothing"
    assert begun(beginning=100, committed=60, record=None).skipped == {}


def test_a_partition_nobody_has_read_begins_at_its_beginning_and_has_skipped_nothing() -> None:
    found = begun(KnownLog(), next_offset=None, beginning=30, record=None)

    assert (found.offset, found.skipped) == (30, {})
    assert found.progress.next_offset == 30, "from now on retention is noticed"


@pytest.mark.parametrize("end", [60, 100, 5000])
def test_another_record_where_the_last_one_was_means_another_log(end: int) -> None:
    found = begun(end=end, record=8 if end > 99 else None)

    assert (found.offset, found.changed, found.skipped) == (0, "truncated", {"truncated": 20})
    assert found.progress == Progress(0, 5, KnownLog("topic", None, None, end))


def test_an_end_that_is_lost_above_what_was_read_is_counted_and_the_rest_read_on() -> None:
    found = begun(end=110)

    assert (found.offset, found.changed, found.skipped) == (100, None, {"truncated": 10})
    assert found.progress.log.end == 110


def test_offsets_that_a_shorter_log_gives_to_other_records_count_as_unread() -> None:
    # Above the record that proves the log there were marks only, so the record is still there and the end is not.
    found = begun(replace(KNOWN, last_offset=97, end=100), end=98)
    assert (found.offset, found.changed, found.skipped) == (98, None, {})
    assert found.progress.next_offset == 98

    later = replace(found.progress, log=replace(found.progress.log, end=100))
    gone = beginning(later, Log(0, 0, None, "other"))
    assert gone.skipped == {"recreated": 2}


def test_an_end_that_a_broker_does_not_show_yet_makes_nothing_unread() -> None:
    assert begun(end=99).progress.next_offset == 100


def test_a_topic_made_anew_is_told_by_its_id() -> None:
    found = begun(topic_id="other", end=5000, committed=None)

    assert (found.offset, found.changed, found.skipped) == (0, "recreated", {"recreated": 20})
    assert begun(topic_id="other", beginning=3).skipped == {"recreated": 20, "retention": 3}


def test_without_ids_kafka_forgets_the_committed_offset_with_the_topic() -> None:
    known = replace(KNOWN, topic_id=None)

    assert begun(known, record=8, committed=None).changed == "recreated"
    assert begun(known, record=8, committed=100).changed == "truncated"


def test_a_row_of_an_elder_consumer_is_never_believed_beyond_the_end() -> None:
    assert begun(KnownLog(), end=150, record=None).offset == 100
    found = begun(KnownLog(), end=60, record=None)

    assert (found.offset, found.changed) == (0, "truncated")


def test_a_fingerprint_tells_all_parts_of_a_record_apart() -> None:
    parts = [(1, b"k", b"v"), (2, b"k", b"v"), (1, b"kv", b""), (1, b"", b"kv"), (1, None, b"kv"), (1, b"kv", None)]
    prints = {fingerprint(MemoryRecord(0, key, value, timestamp)) for timestamp, key, value in parts}

    assert len(prints) == len(parts)
    assert all(known is not None and -(2**63) <= known < 2**63 for known in prints)
    assert fingerprint(UnreadableRecord(0, 0, 1, "damaged", b"v")) is None


@dataclass
class Kafka:
    """One partition's log, its records numbered as they were written, ever."""

    topic: int = 0
    records: dict[int, int] = field(default_factory=dict)
    beginning: int = 0
    end: int = 0


class LogMachine(RuleBasedStateMachine):
    """
    A consumer that stops and starts on a log to which things happen meanwhile; it looks at the end before it stops.

    Each record that was written is read once at least, or counted; none is counted that was read.
    """

    @initialize()
    def start(self) -> None:
        self.log = Kafka()
        self.written = 0
        self.read: set[int] = set()
        self.lost: set[int] = set()
        self.told = 0
        self.again: set[int] = set()
        self.progress = Progress(None, None)
        self.committed: int | None = None
        self.begin()

    def begin(self) -> None:
        known = self.progress.log
        record = self.log.records.get(-1 if known.last_offset is None else known.last_offset)
        log = Log(self.log.beginning, self.log.end, self.committed, str(self.log.topic), record)
        found = beginning(self.progress, log)
        self.told += sum(found.skipped.values())
        self.progress, self.position = found.progress, found.offset
        if found.changed is not None:
            self.again |= self.read & set(self.log.records.values())

    @rule(count=st.integers(0, 4))
    def write(self, count: int) -> None:
        for _ in range(count):
            self.log.records[self.log.end] = self.written
            self.written += 1
            self.log.end += 1

    @rule(count=st.integers(1, 4), exact=st.booleans(), committed=st.booleans())
    def consume(self, count: int, exact: bool, committed: bool) -> None:  # noqa: FBT001 - drawn
        self.begin()
        read = [offset for offset in sorted(self.log.records) if offset >= self.position][:count]
        self.read |= {self.log.records[offset] for offset in read}
        known = replace(self.progress.log, end=self.log.end)
        if read:
            mark = read[-1] if exact else read[0]
            if known.last_offset is None or mark > known.last_offset:
                known = replace(known, last_offset=mark, last_record=self.log.records[mark])
            self.progress = Progress(max(read[-1] + 1, self.progress.next_offset or 0), None, known)
            self.committed = read[-1] + 1 if committed or self.committed is None else self.committed
        else:
            self.progress = replace(self.progress, log=known)

    @rule()
    def look(self) -> None:
        """See how far the log reaches: what was written and lost since the last look cannot be counted."""
        self.begin()

    def remove(self, offsets: list[int]) -> None:
        self.lost |= {self.log.records.pop(offset) for offset in offsets}

    @rule(count=st.integers(1, 5))
    def retain(self, count: int) -> None:
        self.begin()
        self.log.beginning = min(self.log.end, self.log.beginning + count)
        self.remove([offset for offset in list(self.log.records) if offset < self.log.beginning])
        self.begin()

    @precondition(lambda self: self.log.end > self.log.beginning)
    @rule(count=st.integers(1, 5), grown=st.integers(0, 8))
    def truncate(self, count: int, grown: int) -> None:
        self.begin()
        self.log.end = max(self.log.beginning, self.log.end - count)
        self.remove([offset for offset in list(self.log.records) if offset >= self.log.end])
        known = self.progress.log.last_offset
        if known is not None and known >= self.log.end:
            # Otherwise the unread records that were lost could not be told from the new ones at their offsets.
            self.write(grown)
        self.begin()

    @rule(grown=st.integers(0, 8))
    def recreate(self, grown: int) -> None:
        self.begin()
        self.remove(list(self.log.records))
        self.log = Kafka(self.log.topic + 1)
        self.committed = None
        self.write(grown)
        self.begin()

    @invariant()
    def nothing_is_passed_over(self) -> None:
        left = {number for offset, number in self.log.records.items() if offset < self.position}
        assert left <= self.read, "what lies before the position was read"
        unread = len(self.lost - self.read)
        # Which records of a log that was cut short are stored is unknown until they were read again.
        assert unread <= self.told <= unread + len(self.lost & self.again), "what was lost unread is told"


TestLog = LogMachine.TestCase
