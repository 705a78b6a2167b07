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


# Clients send the same few; odd ones are bounded by what the server takes as headers.
@lru_cache(maxsize=64)
def media_type(header: bytes) -> str:
    """
    Return the media type of a Content-Type header without parameters, lower case.

    Raises:
        UnsupportedMediaTypeError: A charset other than UTF-8 is declared.
    """
    kind, *parameters = header.decode("latin-1").lower().split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        charset = "".join(filter(str.isalnum, value))
        if name.strip() == "charset" and charset and charset not in _UTF8:
            raise UnsupportedMediaTypeError(f"charset {value.strip()[:64]!r} is not supported; send UTF-8")
    return kind.strip()
