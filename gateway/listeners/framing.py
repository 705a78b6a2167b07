"""
Where syslog's messages end in a stream of bytes (RFC 6587, RFC 5425). Pure.

Each message says by its first byte how it ends: one that begins with its length in digits has so many bytes, any other ends
with its line. Senders do both, some on one connection.
"""

import re

from typing import Final, NamedTuple

MAX_MESSAGE_BYTES: Final = 256 * 1024
"""Of a longer message the rest is passed over."""
MAX_COUNT: Final = 16 * 1024 * 1024
"""A length beyond is none: nothing that follows could be found."""

_COUNT: Final = re.compile(rb"([1-9][0-9]{0,9}) (?=<)")
_PART_OF_COUNT: Final = re.compile(rb"[1-9][0-9]{0,9} ?\Z")
_BETWEEN: Final = re.compile(rb"[\r\n\0]*+")
_LINE_END: Final = b"\r\0"


class Frame(NamedTuple):
    """A message, and how many bytes it had; more than there are, if it was cut."""

    message: bytes
    length: int


class _Long:
    """A message of which no more is kept."""

    def __init__(self, kept: bytes, length: int, missing: int | None) -> None:
        self.kept = kept
        self.length = length
        self.missing = missing  # None: until the line ends


class Framer:
    """
    The messages of one connection.

    Attributes:
        broken: Whether a length was none. The connection has to end, since no later message can be found.
    """

    def __init__(self) -> None:
        self.broken = False
        self._rest = bytearray()
        self._long: _Long | None = None
        # So far there is no end of line.
        self._looked_at = 0

    @property
    def buffered(self) -> int:
        """How many bytes of an unfinished message are held."""
        return len(self._rest) + (len(self._long.kept) if self._long else 0)

    def feed(self, data: bytes) -> None:
        """Note what arrived."""
        self._rest += data

    def some(self, most: int) -> list[Frame]:
        """Return the next messages that are complete, at most so many; none if none is."""
        frames: list[Frame] = []
        at = 0
        while len(frames) < most and not self.broken:
            found, at = self._next(at)
            if found is None:
                break
            frames.append(found)
        del self._rest[:at]
        self._looked_at = max(self._looked_at - at, 0)
        return frames

    def end(self) -> list[Frame]:
        """Return the message that the end of the connection has ended."""
        frames: list[Frame] = []
        if (long := self._long) is not None:
            frames = [Frame(long.kept, long.length)]
        elif self._rest:
            rest = bytes(self._rest)
            counted = _COUNT.match(rest)
            length = len(rest)
            if counted and not self.broken:
                rest, length = rest[counted.end() :], int(counted[1])
            elif rest := rest.rstrip(_LINE_END):
                length = len(rest)
            frames = [Frame(rest[:MAX_MESSAGE_BYTES], length)] if rest else []
        self._rest.clear()
        self._long = None
        return frames

    def _next(self, at: int) -> tuple[Frame | None, int]:
        """Return the next message, None if it is not complete, and where what follows begins."""
        if self._long is not None:
            return self._pass_over(self._long, at)
        rest = self._rest
        at = between.end() if (between := _BETWEEN.match(rest, at)) else at
        if counted := _COUNT.match(rest, at):
            return self._counted(counted.end(), int(counted[1]), at)
        if at == len(rest) or _PART_OF_COUNT.match(rest, at):
            return None, at
        return self._line(at)

    def _counted(self, begin: int, count: int, at: int) -> tuple[Frame | None, int]:
        if count > MAX_COUNT:
            self.broken = True
            return None, at
        kept = min(count, MAX_MESSAGE_BYTES)
        if len(self._rest) - begin < kept:
            return None, at
        message = bytes(self._rest[begin : begin + kept])
        if kept == count:
            return Frame(message, count), begin + count
        self._long = _Long(message, count, count - kept)
        return self._pass_over(self._long, begin + kept)

    def _line(self, at: int) -> tuple[Frame | None, int]:
        rest = self._rest
        end = rest.find(b"\n", max(at, self._looked_at))
        if end < 0:
            self._looked_at = len(rest)
            if len(rest) - at <= MAX_MESSAGE_BYTES:
                return None, at
            self._long = _Long(bytes(rest[at : at + MAX_MESSAGE_BYTES]), len(rest) - at, None)
            return None, len(rest)
        line = bytes(rest[at:end]).rstrip(_LINE_END)
        return Frame(line[:MAX_MESSAGE_BYTES], len(line)), end + 1

    def _pass_over(self, long: _Long, at: int) -> tuple[Frame | None, int]:
        rest = self._rest
        if long.missing is not None:
            passed = min(long.missing, len(rest) - at)
            long.missing -= passed
            if long.missing:
                return None, at + passed
            self._long = None
            return Frame(long.kept, long.length), at + passed
        end = rest.find(b"\n", at)
        if end < 0:
            long.length += len(rest) - at
            return None, len(rest)
        self._long = None
        return Frame(long.kept, long.length + end - at), end + 1
