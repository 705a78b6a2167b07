"""
What the fleet needs of a topic, and how an existing one differs from that. PURE.

* Retention is as long as the settings say, by the broker's clock: a record's time is when the broker wrote it. By the
  sender's clock, Kafka would remove the events of a host that is hours slow too early. It would refuse those of a host that
  is hours fast.
* With replicas, an acknowledgement means that all of them but one have the event. The number required follows from the
  replicas that a topic *has*: requiring more would stop all writes.
* The dead-letter topic takes the largest record of `logs` with its reason in headers. A dead letter that did not fit would
  block the stream for good.

Settings that are not named here are the operator's and stay. So do settings that give more than is needed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from shared.wire.regions import DEAD_LETTERS, MAX_DEAD_LETTER_BYTES

RETENTION: Final = "retention.ms"
TIMESTAMPS: Final = "message.timestamp.type"
IN_SYNC: Final = "min.insync.replicas"
LARGEST: Final = "max.message.bytes"
BY_THE_BROKER: Final = "LogAppendTime"
# Where more than is needed does no harm.
AT_LEAST: Final = frozenset({IN_SYNC, LARGEST})


@dataclass(frozen=True, slots=True)
class Needs:
    """
    What the settings say, the same for each topic.

    Attributes:
        partitions: Of each topic.
        replicas: Of each partition.
        retention_ms: How long records are kept.
    """

    partitions: int
    replicas: int
    retention_ms: int


@dataclass(frozen=True, slots=True)
class Topic:
    """
    A topic as it is.

    Attributes:
        name: Its name.
        partitions: How many it has.
        replicas: How many each partition has; the fewest, if they differ.
        config: Its settings, defaults included; empty where they do not matter.
    """

    name: str
    partitions: int
    replicas: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One setting of a topic that has to change; `old` is None if Kafka does not report it."""

    name: str
    old: str | None
    new: str


def config_for(name: str, needs: Needs, replicas: int) -> dict[str, str]:
    """
    Return what a topic has to be set to.

    Args:
        name: The topic.
        needs: What the settings say.
        replicas: How many it has, or is about to get.
    """
    config = {
        RETENTION: str(needs.retention_ms),
        TIMESTAMPS: BY_THE_BROKER,
        IN_SYNC: str(max(1, replicas - 1)),
    }
    if name == DEAD_LETTERS:
        config[LARGEST] = str(MAX_DEAD_LETTER_BYTES)
    return config


def changes(topic: Topic, needs: Needs) -> list[Change]:
    """Return what has to be altered."""
    return [
        Change(name, topic.config.get(name), value)
        for name, value in config_for(topic.name, needs, topic.replicas).items()
        if not _suffices(name, topic.config.get(name), value)
    ]


def _suffices(name: str, has: str | None, needed: str) -> bool:
    if has is None or name not in AT_LEAST:
        return has == needed
    return int(has) >= int(needed)


def lasting(topic: Topic, needs: Needs) -> Iterator[str]:
    """Return a sentence for each difference that cannot simply be altered, with what a person can do about it."""
    if topic.partitions > needs.partitions:
        yield (
            f"topic {topic.name} has {topic.partitions} partitions, TOPICS_PARTITIONS says {needs.partitions}, and Kafka "
            f"takes none away: set it to {topic.partitions} in every region"
        )
    yield from too_few_replicas(topic, needs)


def too_few_replicas(topic: Topic, needs: Needs) -> Iterator[str]:
    """Tell whether a topic, which may also be one of Kafka's or MirrorMaker's own, has fewer replicas than it should."""
    if topic.replicas < needs.replicas:
        yield (
            f"topic {topic.name} has {topic.replicas} replica{'s' if topic.replicas > 1 else ''}, "
            f"TOPICS_REPLICATION_FACTOR says {needs.replicas}: add them with Kafka's kafka-reassign-partitions.sh"
        )


def differences(topic: Topic, needs: Needs) -> Iterator[str]:
    """Return a sentence for each way in which a topic is not what the fleet needs."""
    if topic.partitions < needs.partitions:
        yield (
            f"topic {topic.name} has {topic.partitions} partitions, TOPICS_PARTITIONS says {needs.partitions}: "
            "start the fleet again to add them"
        )
    yield from lasting(topic, needs)
    for change in changes(topic, needs):
        yield (
            f"topic {topic.name} has {change.name}={change.old}, and {change.new} is needed: "
            "start the fleet again to alter it"
        )
