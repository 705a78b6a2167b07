"""What comes before a request's body: its method, its query, its headers, read once."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs

from starlette.types import Scope

from shared.ingest.media_type import media_type
from shared.ingest.tenant import tenant_of_request
from shared.wire import trace
from shared.wire.problem import BadRequestError

_REGION: Final = b"x-region"
_TRACEPARENT: Final = trace.HEADER.encode()


class Head:
    """
    The head of one request.

    Args:
        scope: Its ASGI connection scope.

    Attributes:
        content_length: What the client says of the body's length, empty if it says nothing.
        content_codings: Values of Content-Encoding.
        traceparent: W3C trace context; None if there is none, or none that is valid.
        variable: What the variable part of its route's path is; empty if that has none.
    """

    __slots__ = ("_all", "_first", "_query", "_scope", "content_codings", "content_length", "traceparent", "variable")

    def __init__(self, scope: Scope, variable: str = "") -> None:
        self._scope = scope
        self.variable = variable
        self._all: Sequence[tuple[bytes, bytes]] = scope["headers"]
        self._first: dict[bytes, bytes] = dict(self._all[::-1])
        self._query: bytes = scope.get("query_string", b"")
        self.content_length = self._first.get(b"content-length", b"")
        self.content_codings = self.every(b"content-encoding")
        self.traceparent = trace.of_request(self._all) if _TRACEPARENT in self._first else None

    @property
    def owner(self) -> str | None:
        """The tenant of the request's key, None for the default one; what the request says of itself is no matter here."""
        return tenant_of_request(self._scope)

    def every(self, name: bytes) -> Sequence[bytes]:
        """Return all values of a header."""
        value = self._first.get(name)
        if value is None:
            return ()
        if len(self._first) == len(self._all):  # as is usual: each header once
            return (value,)
        return [value for key, value in self._all if key == name]

    @property
    def method(self) -> str:
        """The request's method, upper case."""
        return self._scope["method"]  # type: ignore[no-any-return]

    @property
    def path(self) -> str:
        """The URL's path, decoded."""
        return self._scope["path"]  # type: ignore[no-any-return]

    @property
    def tenant(self) -> str:
        """Whose the request says to be, as clients of Loki do; empty if it does not say."""
        return self.first(b"x-scope-orgid").decode("latin-1")

    def first(self, name: bytes) -> bytes:
        """Return the first value of a header, by its lower-case name; empty if there is none."""
        return self._first.get(name, b"")

    @property
    def media_type(self) -> str:
        """
        The body's media type without parameters, lower case, empty when the client sent none.

        Raises:
            UnsupportedMediaTypeError: A charset other than UTF-8 is declared.
        """
        return media_type(self._first.get(b"content-type", b""))

    def query(self, name: str) -> list[str]:
        """Return all values of a query parameter."""
        return parse_qs(self._query.decode("latin-1"), keep_blank_values=True).get(name, []) if self._query else []

    def region(self, known: Sequence[str]) -> str | None:
        """
        Return the region that is asked for, None for any.

        Raises:
            BadRequestError: It is not known, or more than one is asked for.
        """
        values = self.every(_REGION)
        if not values:
            return None
        region = values[0].decode("latin-1")
        if len(values) > 1 or region not in known:
            raise BadRequestError(
                f"X-Region must be one of {', '.join(known)}, sent once", extra={"regions": list(known)}
            )
        return region
