"""
Answers of Kafka, put right before the client library unfolds them.

The library reads batches well and fast. But it gives up a whole answer for one record that it cannot read, and it unfolds
compressed batches however large they become. So each answer that is not plain (`kafka_batches.is_plain`) passes through here:

* `unfold` turns compressed batches into uncompressed ones, within a limit.
* `unfold` with `thorough` reads every record, for an answer that the library has failed on. Nothing is left in it that could
  make the library fail again. A header's name that is no UTF-8 is put right. Whatever else cannot be read becomes an empty record
  at its offset, and comes back as `Unreadable`.
"""

from collections.abc import Iterator

from consumer.adapters.kafka_batches import CODECS, CONTROL, Batch, content_of, parse, seal, split
from consumer.adapters.kafka_codecs import UnfoldError
from consumer.adapters.kafka_records import BrokenError, PlainRecord, Unreadable, encode, placeholder, records_of


def unfold(data: bytes, position: int, end: int, *, thorough: bool) -> tuple[bytes, list[Unreadable]]:
    """
    Return the same records in batches that the library can read, and what cannot be read.

    Args:
        data: Batches, the last of which may be cut off.
        position: The offset that was asked for; what lies before is of no interest.
        end: How far the log reaches: damaged bytes may name any offset, and to believe them would be to skip what is there.
        thorough: Whether every record is to be looked at.
    """
    good: list[bytes] = []
    bad: list[Unreadable] = []
    for raw, base_behind in split(data):
        following = base_behind if base_behind is not None and position < base_behind <= end else None
        batch = parse(raw)
        if batch is None:
            found: Batch | Unreadable = _foreign(raw, position, following)
        else:
            found = _checked(batch, position, end, following)
        if isinstance(found, Batch):
            if found.last < position:
                continue
            try:
                good.append(_unfolded(found, bad, thorough=thorough))
            except (UnfoldError, BrokenError) as exc:
                found = Unreadable(max(position, found.base), found.last, found.newest_timestamp, str(exc), raw)
        if isinstance(found, Unreadable):
            bad.append(found)
            good.append(placeholder(found))
        position = max(position, found.offset + 1 if isinstance(found, Unreadable) else found.last + 1)
    return b"".join(good), bad


def read(data: bytes) -> Iterator[PlainRecord]:
    """Read the records that can be read."""
    for raw, _ in split(data):
        batch = parse(raw)
        if batch is None or batch.attributes & CONTROL:
            continue
        try:
            records = records_of(batch, content_of(batch))
        except (UnfoldError, BrokenError):
            continue
        yield from (record for record in records if isinstance(record, PlainRecord))


def _foreign(raw: bytes, position: int, following: int | None) -> Unreadable:
    last = position if following is None else max(position, following - 1)
    magic = raw[16] if len(raw) > 16 else None  # noqa: PLR2004 - where every format has it
    return Unreadable(position, last, -1, f"a batch of format {magic}, which this consumer cannot read", raw)


def _checked(batch: Batch, position: int, end: int, following: int | None) -> Batch | Unreadable:
    # No checksum covers where a batch begins.
    is_possible = batch.last_delta >= 0 and batch.base >= 0 and batch.last < end
    if is_possible and batch.is_whole:
        return batch
    first = max(position, batch.base) if is_possible else position
    # The next batch tells where a damaged one ends. Without a next one two of its own numbers have to agree, which one wrong
    # byte cannot make them do; otherwise it counts as one record, and Kafka is asked for what follows.
    agrees = is_possible and batch.count == batch.last_delta + 1
    last = following - 1 if following is not None else batch.last if agrees else first
    detail = (
        "a damaged batch: its checksum is wrong" if is_possible else "a damaged batch: its offsets are none of this log"
    )
    return Unreadable(first, max(first, last), batch.newest_timestamp, detail, batch.raw)


def _unfolded(batch: Batch, bad: list[Unreadable], *, thorough: bool) -> bytes:
    compressed = batch.attributes & CODECS
    if batch.attributes & CONTROL or not (compressed or thorough):
        return batch.raw
    content = content_of(batch)
    if not thorough:
        return seal(batch, content)
    entries = records_of(batch, content)
    bad += (entry for entry in entries if isinstance(entry, Unreadable))
    records = [
        entry if isinstance(entry, PlainRecord) else PlainRecord(entry.offset, entry.timestamp, None, None, ())
        for entry in entries
    ]
    return encode(records, base=batch.base, last=batch.last, attributes=batch.attributes)
