"""Where Splunk's clients say that events come from: host, source, sourcetype, index, in an object or in the URL. Pure."""

from typing import Any, Final, NamedTuple

import msgspec

from gateway.protocols.attributes import to_json
from gateway.protocols.convert import Converter
from gateway.protocols.record import Group
from gateway.protocols.source import Source
from shared.ingest.head import Head

_KEPT: Final = 1000
_encode: Final = msgspec.json.Encoder().encode


class Meta(msgspec.Struct, frozen=True, gc=False):
    """What surrounds an event; empty where it is not said."""

    host: str = ""
    source: str = ""
    sourcetype: str = ""
    index: str = ""

    def of(self, envelope: dict[str, Any]) -> "Meta":
        """Take the same out of an object; what it does not say is as here."""
        return Meta(*[_text(envelope.pop(name, None)) or getattr(self, name) for name in NAMES])

    @property
    def service(self) -> str:
        """The last part of the source, or else the sourcetype, as a service's name."""
        return self.source.replace("\\", "/").rstrip("/").rpartition("/")[2].strip() or self.sourcetype


NAMES: Final = Meta.__struct_fields__


class Asked(NamedTuple):
    """
    What a request's head says of all of its events.

    Attributes:
        meta: Where they come from.
        time: When they happened, as it is written; empty if it is not said.
        key: All of it, as bytes: no event's own bytes say it. Empty if nothing is said.
        channel: Whether a channel is named, on which the client may ask for acknowledgements.
    """

    meta: Meta = Meta()
    time: str = ""
    key: bytes = b""
    channel: bool = False


def asked_of(head: Head, *, channel: bool) -> Asked:
    """Read a request's URL."""
    values = [next((value for value in head.query(name) if value), "") for name in (*NAMES, "time")]
    return Asked(Meta(*values[:-1]), values[-1], _encode(values) if any(values) else b"", channel)


class Sources:
    """
    What the events of one request have in common with others of the same source.

    Args:
        converter: Of the request.
        key: As in `Asked`.
    """

    def __init__(self, converter: Converter, key: bytes) -> None:
        self._converter = converter
        self._key = key
        self._known: dict[tuple[Meta, str], Source] = {}

    def of(self, meta: Meta, host: str) -> Source:
        """Return what events have in common; `host` is what they say themselves, where nothing else does."""
        host = meta.host or host
        if (source := self._known.get((meta, host))) is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            said = {name: value for name, value in msgspec.structs.asdict(meta).items() if value}
            group = Group(
                key=self._key,
                service=meta.service,
                host=host,
                stream=f"{host}\0{meta.source}".encode("utf-8", "replace"),
                layers=(("hec.", said),),
            )
            source = self._known[meta, host] = self._converter.source(group)
        return source


def _text(value: Any) -> str:
    return value if type(value) is str else "" if value is None else to_json(value, set())
