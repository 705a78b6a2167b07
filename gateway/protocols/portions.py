"""A request's events in portions: a large request never holds the loop for long, nor all of its events at once. Pure."""

from collections.abc import Generator, Iterable
from typing import Final

from shared.event.sealed import SealedEvent

# What is made durable at a time, before more is read.
PORTION_EVENTS: Final = 2000
PORTION_BYTES: Final = 1024 * 1024
# What is converted without a pause.
_EVENTS: Final = 32
_BYTES: Final = 32 * 1024

Portions = Generator[list[SealedEvent] | None, None, list[SealedEvent]]
"""Yields None for a pause, and a portion to be made durable; returns the last portion, which may be empty."""


def in_portions(events: Iterable[SealedEvent | None]) -> Portions:
    """Yield events as they come, in portions, with pauses; None among them is a pause, too."""
    portion: list[SealedEvent] = []
    size = since = 0
    for event in events:
        if event is None:
            yield None
            since = 0
            continue
        portion.append(event)
        length = len(event.encoded)
        size += length
        since += length
        if not len(portion) % _EVENTS or since > _BYTES:
            since = 0
            if len(portion) >= PORTION_EVENTS or size >= PORTION_BYTES:
                yield portion
                portion = []
                size = 0
            else:
                yield None
    return portion
