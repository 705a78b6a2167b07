"""
What a region's consumer tells the gateway about replication: its own log, and how far the others' logs are copied into it.

Both are read from the region's own Kafka, so each half stays true while the link between them is cut. Reports carry ages,
not times, because two machines' clocks need not agree. PURE.
"""

from typing import Final

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, ValidationError

from shared.wire.regions import LOGS, Region

PATH: Final = "/internal/replication"

LOOK_LIMIT_S: Final = 10.0
"""A consumer that has not read all of a report by then begins anew."""

SourcePartition = str
"""A partition of the source, as `topic/number`."""


class ReportError(Exception):
    """The data received is no report."""


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class OffsetRange(_Wire):
    """
    What a partition holds.

    Attributes:
        beginning: First offset that retention has left.
        end: Offset that the next record will get.
        marks: Number of offsets just below `end` that hold Kafka's transaction marks, which are never copied.
    """

    beginning: NonNegativeInt
    end: NonNegativeInt
    marks: NonNegativeInt = 0


class Pair(_Wire):
    """
    A record that was copied.

    Attributes:
        source: The offset after it in the source.
        target: The offset after its copy in the target. Where both grow by the same, no record was skipped in between.
    """

    source: NonNegativeInt
    target: NonNegativeInt


class Copies(_Wire):
    """
    How far one source is copied into this region.

    Attributes:
        copied: Offset after the last record that is known to be copied. A partition without one was never copied from.
        noted: The same as MirrorMaker wrote it down, seconds later; where it begins anew, this goes back.
        heartbeat_age_s: Age of the newest heartbeat that came from there; None before the first one.
        pairs: The newest record of each partition that is known to be copied, with its copy.
    """

    copied: dict[SourcePartition, NonNegativeInt]
    noted: dict[SourcePartition, NonNegativeInt]
    heartbeat_age_s: NonNegativeFloat | None = None
    pairs: dict[SourcePartition, Pair] = {}


class RegionReport(_Wire):
    """
    What one region's Kafka says.

    Attributes:
        region: Whose.
        age_s: Seconds since the reading of it began.
        took_s: Seconds that the reading took: what a report says is as of some moment in them. An earlier version does not say
            it; then it is the longest that a reading may take.
        spans: The region's own events and heartbeats.
        copies: By source.
        topic_ids: Kafka's id of each topic, by name: a topic that is made anew has another id. Empty in the report of a
            consumer of an earlier version.
    """

    region: Region
    age_s: NonNegativeFloat
    took_s: NonNegativeFloat = LOOK_LIMIT_S
    spans: dict[SourcePartition, OffsetRange]
    copies: dict[Region, Copies]
    topic_ids: dict[str, str] = {}

    @classmethod
    def decode(cls, body: bytes) -> "RegionReport":
        """
        Read what a consumer answered.

        Raises:
            ReportError: It is something else.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as exc:
            error = exc.errors(include_url=False, include_input=False)[0]
            raise ReportError(f"{'.'.join(map(str, error['loc']))}: {error['msg']}") from None

    def encode(self) -> bytes:
        """Write it as JSON."""
        return self.model_dump_json().encode()


def source_partition(topic: str, partition: int) -> SourcePartition:
    """Name a partition."""
    return f"{topic}/{partition}"


def holds_events(where: SourcePartition) -> bool:
    """Tell whether events are in that partition, and not heartbeats."""
    return where.startswith(f"{LOGS}/")
