"""
The position of a tail as a client keeps it: `t1.` and base64url of what `Position` says; pure.

It holds numbers and the first digits of the database's identity, no secret. Who changes it gets other rows that it may read as well.
"""

import base64
import binascii
import json

from typing import Final

from console.marks import Position

PREFIX: Final = "t1."
_MAX_CHARS: Final = 4096
_ID_CHARS: Final = 8
_MAX_SEQ: Final = 2**63 - 1


class CursorError(ValueError):
    """It is no cursor of a tail; the message says what to do."""


def write(position: Position) -> str:
    """Return the cursor of a position."""
    # Where no day was ever dropped it is what it was before positions knew of that.
    place = [position.floor, position.dropped] if position.dropped else position.floor
    parts: list[str | int | list[int]] = [position.store_id, place]
    for generation, seq in position.below.items():
        # By how much it is below the floor: shorter.
        parts += [generation, position.floor - seq]
    text = json.dumps(parts, separators=(",", ":"))
    return PREFIX + base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def read(cursor: str) -> Position:
    """
    Return the position of a cursor.

    Raises:
        CursorError: It is none.
    """
    if cursor.startswith("c1."):
        raise CursorError("this is the cursor of a search; a tail goes on from the `id` of one of its own events")
    if not cursor.startswith(PREFIX):
        raise CursorError("a tail's cursor begins with `t1.`: give the `id` of one of its events as it came")
    try:
        return _position(cursor.removeprefix(PREFIX))
    except (ValueError, TypeError, RecursionError, binascii.Error) as exc:
        raise CursorError("the cursor is cut off or was changed: give the `id` of an event as it came") from exc


def _position(coded: str) -> Position:
    if len(coded) > _MAX_CHARS:
        raise ValueError
    text = base64.b64decode(coded.encode("ascii") + b"=" * (-len(coded) % 4), altchars=b"-_", validate=True)
    store_id, place, *below = json.loads(text)
    floor, dropped = place if isinstance(place, list) else (place, 0)
    numbers = [floor, dropped, *below]
    if len(store_id) != _ID_CHARS or any(type(number) is not int or not 0 <= number <= _MAX_SEQ for number in numbers):
        raise ValueError
    pairs = list(zip(below[::2], below[1::2], strict=True))
    if any(not 0 < less <= floor for _, less in pairs) or len(dict(pairs)) != len(pairs):
        raise ValueError
    return Position(str(store_id), floor, {generation: floor - less for generation, less in pairs}, dropped)
