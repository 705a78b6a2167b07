"""Media types as clients write them. Pure."""

from functools import lru_cache
from typing import Final

from shared.wire.problem import UnsupportedMediaTypeError

JSON_TYPES: Final = frozenset({"application/json", "application/x-json", "text/json"})
# No name was ever registered for lines of JSON, so each of those in use is taken.
LINES_TYPES: Final = frozenset(
    f"{kind}/{prefix}{name}"
    for kind in ("application", "text")
    for prefix in ("", "x-")
    for name in ("ndjson", "jsonl", "jsonlines", "json-lines", "ndjson-stream", "json-stream")
) | {"application/stream+json", "application/x-json-stream"}

# Without what different systems put between letters and digits. All ASCII is UTF-8.
_UTF8: Final = frozenset({"utf8", "utf8mb4", "unicode11utf8", "usascii", "ascii"})
# Clients send the same few, which are cached. A longer one is parsed each time, so that odd ones cannot fill the memory.
_USUAL_BYTES: Final = 100


def media_type(header: bytes) -> str:
    """
    Return the media type of a Content-Type header without parameters, lower case.

    Raises:
        UnsupportedMediaTypeError: A charset other than UTF-8 is declared.
    """
    return _usual(header) if len(header) <= _USUAL_BYTES else _read(header)


def _read(header: bytes) -> str:
    kind, *parameters = header.decode("latin-1").lower().split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and "".join(filter(str.isalnum, value)) not in _UTF8:
            raise UnsupportedMediaTypeError(f"charset {value.strip()[:64]!r} is not supported; send UTF-8")
    return kind.strip()


_usual: Final = lru_cache(maxsize=64)(_read)
