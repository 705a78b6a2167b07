"""
How far MirrorMaker has copied another region, as it writes that down in this region's Kafka. PURE.

MirrorMaker writes twice. For each record that it copied it writes at once which offset became which (a *sync*); under load the
newest of these may be left out. Every few seconds it writes its position for its own restart (a *note*), and none is left out.
The larger of both says how far it has copied: after a crash it copies some records a second time and its syncs go back, but
what was copied stays copied. Only a note that goes back says that it begins anew.
"""

import json
import struct

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from shared.wire.replication import Copies, Pair, SourcePartition, source_partition

SOURCE_CONNECTOR: Final = "MirrorSourceConnector"
_SHORT: Final = struct.Struct(">h")
_INT: Final = struct.Struct(">i")
_TWO_LONGS: Final = struct.Struct(">qq")


@dataclass(frozen=True, slots=True)
class Mark:
    """
    One thing MirrorMaker wrote about its progress.

    Attributes:
        where: Partition of the source.
        next_offset: Offset after the last record copied; None takes back what was noted before.
        next_copy: Offset after its copy, in the target; None where that is unknown.
    """

    where: SourcePartition
    next_offset: int | None
    next_copy: int | None = None


def read_note(key: bytes | None, value: bytes | None, source: str) -> Mark | None:
    """Read a record of the topic of positions; None when it is about something else than copying `source`."""
    try:
        connector, partition = json.loads(key or b"null")
        if connector != SOURCE_CONNECTOR or partition["cluster"] != source:
            return None
        where = source_partition(str(partition["topic"]), int(partition["partition"]))
        return Mark(where, None if value is None else int(json.loads(value)["offset"]) + 1)
    except (ValueError, TypeError, KeyError):
        return None


def read_sync(key: bytes | None, value: bytes | None) -> Mark | None:
    """Read a record of the topic of syncs; None when it is none."""
    try:
        (length,) = _SHORT.unpack_from(key or b"")
        topic = (key or b"")[_SHORT.size : _SHORT.size + length].decode()
        (partition,) = _INT.unpack_from(key or b"", _SHORT.size + length)
        upstream, downstream = _TWO_LONGS.unpack(value or b"")
    except (struct.error, UnicodeDecodeError):
        return None
    return Mark(source_partition(topic, partition), upstream + 1, downstream + 1)


class Positions:
    """
    How far one source is copied.

    Args:
        topics: Topics of the source that count; others are left out.
    """

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics
        self._noted: dict[SourcePartition, int] = {}
        self._synced: dict[SourcePartition, int] = {}
        self._pairs: dict[SourcePartition, Pair] = {}

    def note(self, mark: Mark | None) -> None:
        """Take in a position that was noted."""
        if mark is None or not self._counts(mark):
            return
        if mark.next_offset is None:
            self._noted.pop(mark.where, None)
            self._synced.pop(mark.where, None)
            return
        if mark.next_offset < self._noted.get(mark.where, 0):
            self._synced.pop(mark.where, None)
        self._noted[mark.where] = mark.next_offset

    def sync(self, mark: Mark | None) -> None:
        """Take in that a record was copied."""
        if mark is not None and mark.next_offset is not None and self._counts(mark):
            self._synced[mark.where] = max(mark.next_offset, self._synced.get(mark.where, 0))
            if mark.next_copy is not None and min(mark.next_offset, mark.next_copy) >= 0:
                self._pairs[mark.where] = Pair(source=mark.next_offset, target=mark.next_copy)

    def copies(self, heartbeat_age_s: float | None) -> Copies:
        """Return what is known now."""
        copied = {
            where: max(self._noted.get(where, 0), self._synced.get(where, 0))
            for where in self._noted.keys() | self._synced.keys()
        }
        return Copies(copied=copied, noted=dict(self._noted), heartbeat_age_s=heartbeat_age_s, pairs=dict(self._pairs))

    def _counts(self, mark: Mark) -> bool:
        return mark.where.rpartition("/")[0] in self._topics
