"""The messages of a connection as events, some at a time. Pure."""

from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from gateway.protocols import syslog
from gateway.protocols.convert import Converter
from gateway.protocols.record import Group
from gateway.protocols.source import Source
from shared.event.sealed import SealedEvent
from shared.ingest.protocol import Counts
from shared.ingest.receipt import Receipt

# What is converted without a pause.
_STEPS: Final = 32


class Batch(NamedTuple):
    """Events, and what was found in their messages."""

    events: Sequence[SealedEvent]
    counts: Counts


def batch(
    messages: Sequence[tuple[bytes, int]], *, now: datetime, peer: str, key: str, spread: int = 1
) -> Generator[None, None, Batch]:
    """
    Make messages events, with pauses.

    Args:
        messages: Each with the length that it had.
        now: Time of their receipt, in this machine's zone.
        peer: Address of the sender, which is the host of those that name none.
        key: Of no other messages: equal ones are no retries here.
        spread: Over how many names a source's messages are spread.
    """
    converter = Converter(Receipt(now, path="/", key=key, spread=spread), syslog.NAME)
    sources: dict[str, Source] = {}
    events: list[SealedEvent] = []
    for raw, length in messages:
        record, host = syslog.read(raw, now, length)
        host = host or peer
        if (source := sources.get(host)) is None:
            stream = host.encode("utf-8", "replace")
            group = Group(key=b"", host=host, stream=stream, layers=(("syslog.", {"host": host}),))
            source = sources[host] = converter.source(group)
        events.append(converter.convert(source, record))
        if not len(events) % _STEPS:
            yield
    return Batch(events, converter.counts())
