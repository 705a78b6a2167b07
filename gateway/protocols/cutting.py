"""Events that are larger than one may be, cut where that costs least. Pure."""

from typing import Final

import msgspec

from gateway.protocols.attributes import free_name
from gateway.protocols.record import Repair
from shared.event.decode import Received
from shared.event.fields import MAX_EVENT_BYTES

CUT: Final = "_cut"
REPAIRED: Final = "_repaired"
_MESSAGE: Final = "message"
_MARKS_BYTES: Final = 256
_encode: Final = msgspec.json.Encoder().encode


def encode_within(event: Received, repairs: set[Repair], limit: int = MAX_EVENT_BYTES) -> bytes:
    """Return the event's canonical JSON with marks of what was repaired, its longest texts cut until it fits."""
    attributes = event.attributes
    if attributes is None:
        attributes = event.attributes = {}
    repaired, where = free_name(REPAIRED, attributes), free_name(CUT, attributes)
    cut: list[str] = []
    while True:
        if repairs:
            attributes[repaired] = ",".join(sorted(repairs))
        if cut:
            attributes[where] = ", ".join(cut)
        encoded = _encode(event)
        if (over := len(encoded) - limit) <= 0:
            return encoded
        repairs.add(Repair.CUT)
        texts = {
            name: text for name, text in attributes.items() if isinstance(text, str) and name not in (repaired, where)
        }
        longest = max(texts, key=lambda name: len(texts[name]), default=None)
        if longest is not None and len(texts[longest]) > len(event.message):
            cut.append(f"{longest[: _MARKS_BYTES // 4]} {len(texts[longest])}")
            attributes[longest] = _shortened(texts[longest], over + _MARKS_BYTES)
        else:
            cut.append(f"{_MESSAGE} {len(event.message)}")
            event.message = _shortened(event.message, over + _MARKS_BYTES)


def _shortened(text: str, by: int) -> str:
    """Return the longest beginning of a text whose JSON is shorter by so many bytes; empty if there is none."""
    most = max(len(_encode(text)) - by - 2, 0)
    fits, too_long = 0, min(len(text), most) + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if len(_encode(text[:middle])) - 2 <= most:
            fits = middle
        else:
            too_long = middle
    return text[:fits]
