"""
Where to read a partition from, and which of its records are skipped because they are gone. PURE.

A log can lose its beginning (retention) or its end (a broker that lost power, a disk that is gone). It can also be another log
altogether (the topic was made anew). An offset alone shows none of that once the log has grown past it again: it would point
into other records, and what was written since the accident would be passed over. So what was durable last is kept beside the
offset: a fingerprint of the last record, the topic's id, and how far the log was known to reach.

Two rules, and everything here follows from them:

* **When in doubt, from the beginning.** To read a record a second time costs a look-up in the primary key. So another log than
  the one that was read before is read from its beginning. The same log is read on right behind the record that proves it.
* **Skipped is what existed and can never be read**: records above the durable offset that the log was known to hold, and
  does not hold any more. What is durable was read; what was written after this consumer last looked cannot be known to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final, Literal

from consumer.decode import Record, UnreadableRecord
from consumer.ports import KnownLog, Progress

SkipReason = Literal["retention", "truncated", "recreated"]
SKIP_REASONS: Final[tuple[SkipReason, ...]] = ("retention", "truncated", "recreated")


@dataclass(frozen=True, slots=True)
class Log:
    """
    A partition's log as the broker shows it.

    Attributes:
        beginning: Its first offset.
        end: Offset the next record will get.
        committed: Offset the group committed, None if it did not.
        topic_id: Of its topic; None if the broker did not say.
        record: Fingerprint of the record at the offset that was asked about; None if there is no such record.
    """

    beginning: int
    end: int
    committed: int | None = None
    topic_id: str | None = None
    record: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What a look at a doubted partition has shown.

    Attributes:
        position: The offset that would be read next.
        known: By what the log is known again that was being read.
        log: The log that is there.
    """

    position: int
    known: KnownLog
    log: Log


@dataclass(frozen=True, slots=True)
class Beginning:
    """
    Where to begin reading.

    Attributes:
        offset: The first to read.
        changed: How the log differs from the one that was read before; None if it is that one, maybe without its beginning.
        skipped: Records that can never be read, by reason.
        progress: What holds of the log as it is, to be stored from now on.
    """

    offset: int
    changed: SkipReason | None
    progress: Progress
    skipped: Mapping[SkipReason, int] = field(default_factory=dict)


def fingerprint(record: Record) -> int | None:
    """
    Return 64 bits by which a record differs from any other at the same offset, signed as PostgreSQL's integers are.

    None for one that could not be read: a later version may make something else of it.
    """
    if isinstance(record, UnreadableRecord):
        return None
    key, value = record.key, record.value
    digest = blake2b(digest_size=8)
    # A length before each, so that no two records have the same bytes; tombstones are not empty values.
    digest.update(
        b"%d %d %d " % (record.timestamp, -1 if key is None else len(key), -1 if value is None else len(value))
    )
    digest.update(key or b"")
    digest.update(value or b"")
    return int.from_bytes(digest.digest(), "big", signed=True)


def beginning(stored: Progress, log: Log) -> Beginning:
    """
    Return where to begin, given what the last owner left and what the broker shows.

    Kafka's committed offset counts, too: it is lower when the group was reset to read again, and gone with the topic.
    """
    known = stored.log
    if stored.next_offset is None:
        return Beginning(log.beginning, None, _from_now_on(stored, log, log.beginning))
    changed = _changed(stored.next_offset, known, log)
    if changed is not None:
        lost: dict[SkipReason, int] = {changed: max(0, (known.end or 0) - stored.next_offset)}
        if changed == "recreated":
            lost["retention"] = log.beginning  # a new log begins at 0
        return Beginning(log.beginning, changed, _from_now_on(stored, log, log.beginning), _counts(lost))
    resume = stored.next_offset if known.last_offset is None else min(stored.next_offset, known.last_offset + 1)
    start = log.beginning if log.committed is None else min(log.committed, resume)
    skipped: dict[SkipReason, int] = {"retention": max(0, log.beginning - stored.next_offset)}
    if known.end is not None:
        skipped["truncated"] = max(0, known.end - max(log.end, stored.next_offset))
    # What a shorter log held above its end is gone. Other records will get those offsets, and they are read from `resume` on.
    durable = max(min(stored.next_offset, max(log.end, resume)), log.beginning)
    progress = replace(stored, next_offset=durable, log=replace(known, topic_id=log.topic_id, end=log.end))
    return Beginning(max(start, log.beginning), None, progress, _counts(skipped))


def _changed(next_offset: int, known: KnownLog, log: Log) -> SkipReason | None:
    """Tell whether this is not the log that was read up to `next_offset`."""
    if known.topic_id is not None and log.topic_id is not None and known.topic_id != log.topic_id:
        return "recreated"
    if known.last_offset is not None and known.last_offset >= log.beginning:
        same = log.record is not None and log.record == known.last_record
    else:
        # Nothing to compare: an elder consumer wrote no fingerprint, or retention has removed the record.
        same = next_offset <= log.end
    if same:
        return None
    # Without ids the group's offset tells: Kafka forgets it with the topic, but not with the end of a log.
    by_id = known.topic_id is not None and log.topic_id is not None
    return "recreated" if log.committed is None and not by_id else "truncated"


def _from_now_on(stored: Progress, log: Log, start: int) -> Progress:
    return replace(stored, next_offset=start, log=KnownLog(topic_id=log.topic_id, end=log.end))


def _counts(skipped: Mapping[SkipReason, int]) -> Mapping[SkipReason, int]:
    return {reason: count for reason, count in skipped.items() if count}
