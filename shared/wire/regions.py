"""
Regions and the topics that carry their events.

The only module that knows MirrorMaker's naming. With its default replication policy, a copy of `region-a`'s topic `logs` is
called `region-a.logs` in every other region. So neither local topic names nor region names have dots: otherwise a mirrored
name could be mistaken for a local one.
"""

from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import StringConstraints

LOGS: Final = "logs"
HEARTBEATS: Final = "heartbeats"
DEAD_LETTERS: Final = "logs-dlq"
MAX_DEAD_LETTER_BYTES: Final = 2 * 1024 * 1024

Region = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


def mirrored_topic(source: str) -> str:
    """Return the name under which `source`'s events arrive in another region."""
    return f"{source}.{LOGS}"


def mirrored_heartbeats(source: str) -> str:
    """Return the name under which `source`'s heartbeats arrive in another region."""
    return f"{source}.{HEARTBEATS}"


def positions_topic(source: str) -> str:
    """Return where MirrorMaker notes, in the target, how far it has copied `source`."""
    return f"mm2-offsets.{source}.internal"


def syncs_topic(source: str) -> str:
    """Return where MirrorMaker notes, in the target, which of `source`'s offsets became which of the copy's."""
    return f"mm2-offset-syncs.{source}.internal"


def is_bookkeeping(topic: str) -> bool:
    """Tell whether Kafka or MirrorMaker keep state of the fleet there: offsets, positions, heartbeats."""
    return (
        topic in (HEARTBEATS, "__consumer_offsets", "__transaction_state")
        or topic.startswith("mm2-")
        or topic.endswith((f".{HEARTBEATS}", ".checkpoints.internal"))
    )


def consumed_topics(region: str, regions: Iterable[str]) -> list[str]:
    """Return the topics `region`'s consumer reads: its own, and one for each other region."""
    return [LOGS, *(mirrored_topic(other) for other in sorted(regions) if other != region)]


def origin_of(topic: str, region: str) -> str:
    """Return the region whose Kafka first held the records of `topic`, as seen from `region`."""
    return topic.removesuffix(f".{LOGS}") if topic != LOGS else region
