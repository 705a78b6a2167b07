"""
What Splunk's HTTP Event Collector answers, in its words: a text, a code, and what a client must know besides. Pure.

Clients act on the status, and some on the code. `detail` is ours: it says what to change.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Final

import msgspec

from gateway.protocols.lenient_json import read_json
from gateway.settings import GatewaySettings
from shared.event.json_text import NotJSONError
from shared.event.outcome import Outcome
from shared.ingest.head import Head
from shared.ingest.protocol import Reply, Submission, headers_of
from shared.ingest.receipt import Receipt
from shared.ingest.routes import Handshake
from shared.wire.problem import BadRequestError, ProblemError

ROOT: Final = "/services/collector"
CODE: Final = "code"
EVENT: Final = "invalid-event-number"
"""Members of an error's `extra`: the collector's code, and the place of the event that cannot be read."""
NO_DATA: Final = 5
INVALID: Final = 6
SUCCESS: Final = 0

_NO_TOKEN, _INVALID_TOKEN, _BUSY, _TOO_LARGE = 2, 4, 9, 27
_JSON: Final = b"application/json"
_TEXTS: Final[Mapping[int, str]] = {
    SUCCESS: "Success",
    _NO_TOKEN: "Token is required",
    _INVALID_TOKEN: "Invalid token",
    NO_DATA: "No data",
    INVALID: "Invalid data format",
    _BUSY: "Server is busy",
    _TOO_LARGE: "Request entity too large",
}
# What has no code there has its status as one.
_CODES: Final[Mapping[int, int]] = {
    HTTPStatus.BAD_REQUEST: INVALID,
    HTTPStatus.UNAUTHORIZED: _NO_TOKEN,
    HTTPStatus.FORBIDDEN: _INVALID_TOKEN,
    HTTPStatus.TOO_MANY_REQUESTS: _BUSY,
    HTTPStatus.SERVICE_UNAVAILABLE: _BUSY,
    HTTPStatus.TOO_MANY_REQUESTS: _BUSY,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: _TOO_LARGE,
}
_HEALTHY: Final = {"text": "HEC is healthy", "code": 17}
_HEALTH_PATHS: Final = (f"{ROOT}/health", f"{ROOT}/health/1.0")
_CHANNEL: Final = b"x-splunk-request-channel"
_MOST_ACKS: Final = 10_000
# What every client's numbers hold exactly.
_ACK_BITS: Final = 53
_encode: Final = msgspec.json.Encoder().encode


def success(ack_id: int | None = None) -> Reply:
    """Return the answer to what is stored."""
    more = {} if ack_id is None else {"ackId": ack_id}
    return Reply(HTTPStatus.OK, _encode({"text": _TEXTS[SUCCESS], "code": SUCCESS} | more), _JSON)


def error_reply(error: ProblemError) -> Reply:
    """Return an error as the collector writes it."""
    code = error.extra.get(CODE, _CODES.get(error.status, int(error.status)))
    body: dict[str, Any] = {"text": _TEXTS.get(code) or HTTPStatus(error.status).phrase, "code": code}
    if EVENT in error.extra:
        body[EVENT] = error.extra[EVENT]
    return Reply(error.status, _encode(body | {"detail": error.detail}), _JSON, headers_of(error))


def channel(head: Head) -> bool:
    """Return whether a client names a channel: then it may ask for acknowledgements."""
    return bool(head.first(_CHANNEL) or head.query("channel"))


def ack_id(receipt: Receipt) -> int:
    """Return the number under which a client may ask for a request: different for each, and known to no gateway."""
    told_apart = sha256(b"%b%b/%b" % (receipt.digest, receipt.now.isoformat().encode(), receipt.salt)).digest()
    return int.from_bytes(told_apart[:8]) >> (64 - _ACK_BITS)


def hec_health(_: GatewaySettings) -> Handshake:
    """Return what is answered to clients that ask whether the collector is there."""

    def asked(method: str, path: str, _: Head) -> Reply | None:
        if method not in ("GET", "HEAD") or path not in _HEALTH_PATHS:
            return None
        return Reply(HTTPStatus.OK, b"" if method == "HEAD" else _encode(_HEALTHY), _JSON)

    return asked


class HecAck:
    """
    `POST /services/collector/ack`: what has become of requests.

    A client has the number of a request from the answer that said that all of it is durable. So each of them is acknowledged.
    """

    max_body_bytes = 1024 * 1024

    def check(self, _: Head) -> None:
        """Take whatever it is called."""

    def read(self, body: bytes, _: Receipt, __: None) -> Submission:
        """Read the numbers."""
        try:
            value, _repairs = read_json(body)
        except NotJSONError as exc:
            raise BadRequestError(f"the body is no JSON: {exc}") from None
        numbers = value.get("acks") if isinstance(value, dict) else None
        if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
            raise BadRequestError('the body has no "acks"; send {"acks": [1, 2, 3]}')
        if len(numbers) > _MOST_ACKS:
            raise BadRequestError(f'"acks" may have {_MOST_ACKS} numbers; ask in several requests')
        return Submission((), numbers)

    def answer(self, submission: Submission, _: Sequence[Outcome]) -> Reply:
        """Say that each is acknowledged."""
        return Reply(HTTPStatus.OK, _encode({"acks": {str(number): True for number in submission.context}}), _JSON)

    def refuse(self, error: ProblemError, _: Submission | None, __: Head) -> Reply:
        """Return an error in the collector's form."""
        return error_reply(error)
