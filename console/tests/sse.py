"""A client of server-sent events, as the standard describes one: half an event at the end of a connection counts for nothing."""

import json

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Parser:
    """
    Reads the stream.

    Attributes:
        last_id: What the client comes back with.
    """

    last_id: str = ""
    _rest: bytes = b""
    _event: str = ""
    _data: list[str] = field(default_factory=list)
    _id: str | None = None

    def feed(self, data: bytes) -> Iterator[tuple[str, Any]]:
        """Yield the events that are complete, each with its data."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if not line:
                yield from self._dispatch()
            else:
                name, _, value = line.decode().partition(":")
                self._take(name, value.removeprefix(" "))

    def _take(self, name: str, value: str) -> None:
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            self._id = value

    def _dispatch(self) -> Iterator[tuple[str, Any]]:
        if self._id is not None:
            self.last_id = self._id
        if self._data:
            yield self._event, json.loads("\n".join(self._data))
        self._event, self._data, self._id = "", [], None


async def events(pieces: AsyncIterator[bytes], parser: Parser) -> AsyncIterator[tuple[str, Any]]:
    """Yield events from pieces of a body."""
    async for piece in pieces:
        for found in parser.feed(piece):
            yield found
