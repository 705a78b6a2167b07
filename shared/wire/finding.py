"""
Where an event is in a region's Kafka: what the console asks of that region's consumer, and what it is told. PURE.

Each region tells of its own Kafka, so each half stays true while the other region is away. What could not be looked at is part
of the answer: what was not found there is unknown, and not missing.
"""

from typing import Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from shared.event.fields import MAX_NAME_CHARS
from shared.event.tenant import Tenant
from shared.wire.regions import Region

PATH: Final = "/internal/find"
MAX_QUESTION_BYTES: Final = 4096
MAX_RECORDS: Final = 20_000
"""So many records of a partition are looked at, at most."""
LIMIT_S: Final = 1.0
"""A question has its answer after so long, with what was found until then."""
BEFORE_S: Final = 5.0
"""So much earlier than its receipt an event is looked for: the gateway's clock and the broker's need not agree."""


class FindingError(Exception):
    """The data received is no question, or no answer to one."""


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    def encode(self) -> bytes:
        """Write it as JSON."""
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """
        Read it.

        Raises:
            FindingError: It is something else.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as exc:
            error = exc.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, error["loc"])) or "body"
            raise FindingError(f"{where}: {error['msg']}") from exc


class Question(_Wire):
    """
    Where is this event?

    Attributes:
        event_id: Half of its identity.
        time_us: The other half, microseconds since 1970.
        correlation_id: Its key, which says the partition; None where it is not known, and all partitions are looked at.
        since_ms: Records that the broker wrote before are not looked at, milliseconds since 1970.
        stored: Whether it is stored. What is not is looked for among all records that no consumer has stored yet, too.
        tenant: Whose it is; None: the default tenant's. No other one's record is an answer.
    """

    event_id: UUID
    time_us: NonNegativeInt
    correlation_id: str | None = Field(default=None, max_length=MAX_NAME_CHARS)
    since_ms: NonNegativeInt
    stored: bool = True
    tenant: Tenant = None


class Copy(_Wire):
    """
    A record that holds the event, or that speaks of its id and cannot be read.

    Attributes:
        topic: As named in the region's Kafka.
        partition: Of the topic.
        offset: Of the record.
        at_ms: When the broker wrote it, by its clock, milliseconds since 1970.
        received_us: When a gateway took it, microseconds since 1970; None where that cannot be read.
        wanted: The region that it was meant for, where another one took it.
        wrong: Why it cannot become a row; None if it can.
    """

    topic: str
    partition: NonNegativeInt
    offset: NonNegativeInt
    at_ms: int
    received_us: int | None = None
    wanted: str | None = None
    wrong: str | None = None


class Letter(_Wire):
    """
    A record of the event that was set aside.

    Attributes:
        partition: Of the topic of dead letters.
        offset: Likewise.
        at_ms: When the broker wrote it, by its clock, milliseconds since 1970.
        source_topic: Where the record was read.
        source_partition: Likewise.
        source_offset: Likewise.
        reason: Why it is no row.
    """

    partition: NonNegativeInt
    offset: NonNegativeInt
    at_ms: int
    source_topic: str
    source_partition: int
    source_offset: int
    reason: str


class Looked(_Wire):
    """
    A partition that was looked at, from `first` up to `next`, which is not included.

    Attributes:
        topic: As named in the region's Kafka.
        partition: Of the topic.
        beginning: Its first offset that retention has left.
        first: The first that was looked at.
        next: The first behind it that was not.
        end: The offset that the next record will get.
        committed: How far the consumers' group has stored it, as Kafka has noted; None where that is unknown or nothing is.
        claimed: Whether the consumer that answers reads it.
        stored: How far that consumer has stored it; None if it does not read it.
    """

    topic: str
    partition: NonNegativeInt
    beginning: NonNegativeInt
    first: NonNegativeInt
    next: NonNegativeInt
    end: NonNegativeInt
    committed: NonNegativeInt | None = None
    claimed: bool = False
    stored: NonNegativeInt | None = None

    @property
    def done(self) -> int | None:
        """How far it is stored, as far as that is known."""
        return max((known for known in (self.committed, self.stored) if known is not None), default=None)


class Unseen(_Wire):
    """What could not be looked at, and why; a topic without a partition is all of it."""

    topic: str
    partition: NonNegativeInt | None = None
    why: str


class Found(_Wire):
    """
    What a region's Kafka has of an event.

    Attributes:
        region: Whose.
        copies: Records of the event, in the order of topics, partitions and offsets.
        letters: Records of it that were set aside.
        looked: What was looked at.
        unseen: What was not. A topic that does not exist is in neither: nothing is in it.
    """

    region: Region
    copies: tuple[Copy, ...] = ()
    letters: tuple[Letter, ...] = ()
    looked: tuple[Looked, ...] = ()
    unseen: tuple[Unseen, ...] = ()
