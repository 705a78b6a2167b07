"""
Who may do what in a region's Kafka, where Kafka asks for certificates. Pure: a table.

A service that it does not name may do nothing. `admin` and the broker itself need no line: they may do all.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import IntEnum

from shared.wire.regions import (
    DEAD_LETTERS,
    HEARTBEATS,
    LOGS,
    Region,
    consumed_topics,
    mirrored_heartbeats,
    mirrored_topic,
    positions_topic,
    syncs_topic,
)

GROUP = "log-consumer"


class Kind(IntEnum):
    """What a grant is about, by Kafka's numbers."""

    TOPIC = 2
    GROUP = 3
    CLUSTER = 4


class Pattern(IntEnum):
    """How a grant names it, by Kafka's numbers."""

    LITERAL = 3
    PREFIXED = 4


class May(IntEnum):
    """What may be done with it, by Kafka's numbers."""

    READ = 3
    WRITE = 4
    CREATE = 5
    ALTER = 7
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11


@dataclass(frozen=True, slots=True)
class Grant:
    """One line of the table: this service may do that with what is called so."""

    service: str
    kind: Kind
    name: str
    may: May
    pattern: Pattern = Pattern.LITERAL


CLUSTER = "kafka-cluster"
ALL = "*"


def grants(region: Region, regions: Collection[Region]) -> list[Grant]:
    """Return all lines of a region's table."""
    others = sorted(other for other in regions if other != region)
    return [
        *_producer(region),
        *_consumer(region, regions, others),
        *_topics(region, regions),
        *(grant for other in others for grant in _read_by_mirror(other)),
        *(grant for other in others for grant in _written_by_mirror(region, other)),
    ]


def _suffix(region: Region) -> str:
    return region.removeprefix("region-")


def _topic(service: str, name: str, *may: May, pattern: Pattern = Pattern.LITERAL) -> Iterator[Grant]:
    for one in may:
        yield Grant(service, Kind.TOPIC, name, one, pattern)


def _producer(region: Region) -> Iterator[Grant]:
    # To write with idempotence comes with the right to write.
    yield from _topic(f"producer-{_suffix(region)}", LOGS, May.WRITE, May.DESCRIBE, May.DESCRIBE_CONFIGS)


def _consumer(region: Region, regions: Collection[Region], others: Collection[Region]) -> Iterator[Grant]:
    me = f"consumer-{_suffix(region)}"
    bookkeeping = [topic for other in others for topic in (positions_topic(other), syncs_topic(other))]
    heartbeats = [HEARTBEATS, *map(mirrored_heartbeats, others)]
    for name in (*consumed_topics(region, regions), *heartbeats, *bookkeeping):
        yield from _topic(me, name, May.READ, May.DESCRIBE)
    # A topic of dead letters that is gone is made again, like that of the events.
    yield from _topic(me, DEAD_LETTERS, May.WRITE, May.DESCRIBE, May.CREATE)
    yield from _topic(me, LOGS, May.DESCRIBE_CONFIGS)
    yield Grant(me, Kind.GROUP, GROUP, May.READ)


def _topics(region: Region, regions: Collection[Region]) -> Iterator[Grant]:
    me = f"topics-{_suffix(region)}"
    yield Grant(me, Kind.CLUSTER, CLUSTER, May.CREATE)
    # It looks at how many replicas the topics of others have.
    yield from _topic(me, ALL, May.DESCRIBE)
    for name in (*consumed_topics(region, regions), DEAD_LETTERS):
        yield from _topic(me, name, May.DESCRIBE_CONFIGS, May.ALTER_CONFIGS, May.ALTER)


def _read_by_mirror(other: Region) -> Iterator[Grant]:
    """Yield what the mirror of another region may do here: read, and nothing else."""
    for name in (LOGS, HEARTBEATS):
        yield from _topic(f"mirror-to-{_suffix(other)}", name, May.READ, May.DESCRIBE, May.DESCRIBE_CONFIGS)


def _written_by_mirror(region: Region, other: Region) -> Iterator[Grant]:
    """Yield what this region's mirror may do with what it makes of another region's topics, and with its own notes."""
    me = f"mirror-to-{_suffix(region)}"
    made = (May.CREATE, May.READ, May.WRITE, May.DESCRIBE, May.DESCRIBE_CONFIGS, May.ALTER)
    yield from _topic(me, mirrored_topic(other).removesuffix(LOGS), *made, pattern=Pattern.PREFIXED)
    yield from _topic(me, "mm2-", *made, pattern=Pattern.PREFIXED)
    yield from _topic(me, HEARTBEATS, *made)
    # Kafka Connect's workers are members of a group that is called after the source.
    for may in (May.READ, May.DESCRIBE):
        yield Grant(me, Kind.GROUP, f"{other}-", may, Pattern.PREFIXED)
