"""Reads pieces of a query in LogQL one after the other, and says what is wrong with one. Pure."""

from collections.abc import Callable
from typing import Final, TypeVar

from console.loki.tokens import Token, tokens_of
from shared.wire.problem import BadRequestError

_MAX_DEPTH: Final = 30
_ECHO: Final = 40

T = TypeVar("T")


class Reader:
    """
    The pieces of a query, and a place among them.

    Args:
        query: All of it.

    Raises:
        BadRequestError: There is something in it that is no piece of LogQL.
    """

    def __init__(self, query: str) -> None:
        self._query = query
        self._tokens = tokens_of(query)
        self._at = 0
        self._depth = 0

    @property
    def now(self) -> Token:
        """The piece at the place."""
        return self._tokens[self._at]

    def end(self) -> None:
        """Demand that there is nothing more."""
        if self.now.kind != "end":
            raise self.unsupported(self.now)

    def deeper(self, part: Callable[[], T]) -> T:
        """Read a part that is within parentheses."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise BadRequestError(f"the query has more than {_MAX_DEPTH} parentheses within each other")
        found = part()
        self._depth -= 1
        return found

    def is_sign(self, *signs: str) -> bool:
        """Tell whether the piece is one of these signs."""
        return self.now.kind == "sign" and self.now.text in signs

    def is_name(self, name: str) -> bool:
        """Tell whether the piece is this name."""
        return self.now.kind == "name" and self.now.text == name

    def skip(self, sign: str) -> bool:
        """Pass a sign if it is there; return whether it was."""
        if not self.is_sign(sign):
            return False
        self.next()
        return True

    def next(self) -> Token:
        """Pass the piece, and return it."""
        token = self.now
        if token.kind == "end":
            raise self.wrong(token, "is missing")
        self._at += 1
        return token

    def take(self, kind: str) -> Token:
        """Pass a piece of a kind, and return it."""
        if self.now.kind != kind:
            raise self.wrong(self.now, f"must be a {kind}")
        return self.next()

    def expect(self, sign: str) -> None:
        """Pass a sign."""
        if not self.skip(sign):
            if self.now.kind == "name" and sign == ")":
                raise self.unsupported(self.now)
            raise self.wrong(self.now, f"must be {sign}")

    def name(self) -> str:
        """Pass a name, and return it."""
        return self.take("name").text

    def text(self) -> str:
        """Pass a text, and return it."""
        if self.is_name("ip"):
            raise self.unsupported(self.now, "ip(…)")
        if self.now.kind != "string":
            raise self.wrong(self.now, "must be a text in quotes")
        return self.next().text

    def wrong(self, token: Token, why: str) -> BadRequestError:
        """Return the error for a piece that may not be there."""
        found = self._query[token.at : token.at + _ECHO]
        return BadRequestError(f"the query cannot be read at character {token.at + 1}: {found!r} {why}")

    def unsupported(self, token: Token, what: str | None = None) -> BadRequestError:
        """Return the error for what Loki has, and what is not supported here."""
        what = what or self._query[token.at :].split("\n")[0][:_ECHO]
        return BadRequestError(
            f"{what!r} at character {token.at + 1} is not supported here; there are label matchers, line filters, "
            f"label filters, json, logfmt, and count_over_time and rate with sum"
        )
