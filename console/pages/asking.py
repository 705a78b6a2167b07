"""
How pages ask the API: as a client would, but within the process.

A page is one more client of the documented API, with the same limits, refusals and JSON. It knows nothing of what is behind it.
The request for the data has the address, headers and state of the request for the page, so it counts for the same reader.
When that reader goes away, the request for the data ends as well.
"""

import json

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request

from console.pages.views.state import Parameters, write
from shared.ingest.caller import PRINCIPAL_KEY

# Of the request for a page, these say who asks. Others would change the form of the answer.
_PASSED_ON: Final = frozenset({b"host", b"authorization", b"cookie", b"traceparent"})
_KEPT: Final = ("type", "asgi", "http_version", "scheme", "root_path", "client", "server", "state", PRINCIPAL_KEY)


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What the API said.

    Attributes:
        status: The status.
        body: The JSON; an empty object if there was none.
        retry_after: Seconds after which asking again may help, as the API says it.
    """

    status: int
    body: Any
    retry_after: str = ""

    @property
    def ok(self) -> bool:
        """True when it is what was asked for."""
        return self.status == 200  # noqa: PLR2004 - OK

    @property
    def detail(self) -> str:
        """Why it is not."""
        body = self.body if isinstance(self.body, dict) else {}
        return str(body.get("detail") or body.get("title") or f"the answer was {self.status} without a reason")


async def ask(request: Request, path: str, parameters: Parameters = ()) -> Answer:
    """Ask for `path` of the application that serves `request`."""
    query = write(parameters, "").removeprefix("?").encode()
    headers = [(name, value) for name, value in request.scope["headers"] if name in _PASSED_ON]
    scope = {name: request.scope[name] for name in _KEPT if name in request.scope} | {
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [*headers, (b"accept", b"application/json")],
    }
    heard = _Heard(request)
    await request.app(scope, heard.receive, heard.send)
    return heard.answer()


class _Heard:
    """Both ends of a request that never leaves the process."""

    def __init__(self, request: Request) -> None:
        self._receive = request.receive
        self._asked = False
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()

    async def receive(self) -> MutableMapping[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while (message := await self._receive())["type"] != "http.disconnect":
            pass
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = dict(message["headers"])
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")

    def answer(self) -> Answer:
        try:
            body = json.loads(self._body) if self._body else {}
        except ValueError:
            body = {}
        return Answer(self._status, body, self._headers.get(b"retry-after", b"").decode("latin-1"))
