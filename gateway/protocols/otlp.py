"""
OpenTelemetry's logs over HTTP (OTLP/HTTP 1.x), as Protocol Buffers and as JSON. Pure.

The content types of answers have no parameters, and errors are `Status` messages: the collector compares them to the byte, and
misreads others. What was stored is answered with 200; what was repaired of it is told as a warning, a partial success that
rejected nothing.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec

from gateway.protocols import otlp_json, otlp_protobuf
from gateway.protocols.convert import Converter
from gateway.protocols.converted import converted
from gateway.protocols.otlp_pb2 import LogsResponse, Status
from gateway.protocols.portions import in_portions
from shared.event.outcome import Outcome, Refused
from shared.ingest.head import Head
from shared.ingest.media_type import JSON_TYPES
from shared.ingest.protocol import Counts, Reading, Reply, Submission, headers_of
from shared.ingest.receipt import Receipt
from shared.ingest.shipping import MAX_BODY_BYTES
from shared.wire.problem import ProblemError, UnsupportedMediaTypeError

NAME: Final = "otlp"
PATHS: Final = ("/v1/logs", "/otlp/v1/logs")
UNDER: Final = ("/v1/", "/otlp/")
"""Where SDKs send traces and metrics, which are not taken here."""

PROTOBUF: Final = b"application/x-protobuf"
JSON: Final = b"application/json"
_PROTOBUF_TYPES: Final = frozenset({"application/x-protobuf", "application/protobuf", "application/x-google-protobuf"})
# A body with no more bytes has nothing in it that could have been meant as records.
_EMPTY_BYTES: Final = len(b'{"resourceLogs": []}')
_NOTHING: Final = "the request has no log records that are known here; see opentelemetry.proto.collector.logs.v1"

# Codes of gRPC, by status; of all others the one for what the client did wrong.
_CODES: Final = {
    HTTPStatus.UNAUTHORIZED: 16,
    HTTPStatus.FORBIDDEN: 7,
    HTTPStatus.NOT_FOUND: 12,
    HTTPStatus.METHOD_NOT_ALLOWED: 12,
    HTTPStatus.TOO_MANY_REQUESTS: 8,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: 8,
    HTTPStatus.TOO_MANY_REQUESTS: 8,
    HTTPStatus.INTERNAL_SERVER_ERROR: 13,
    HTTPStatus.SERVICE_UNAVAILABLE: 14,
}
_WRONG: Final = 3
_encode: Final = msgspec.json.encode


class _Found(NamedTuple):
    is_json: bool
    warning: str


class OtlpLogs:
    """`POST /v1/logs`."""

    max_body_bytes = MAX_BODY_BYTES

    def check(self, head: Head) -> bool:
        """Return whether the body is JSON."""
        if (kind := head.media_type) in JSON_TYPES:
            return True
        if kind not in _PROTOBUF_TYPES:
            raise UnsupportedMediaTypeError(
                f"Content-Type must be {PROTOBUF.decode()} or {JSON.decode()}, not {kind[:100] or 'absent'!r}"
            )
        return False

    def read(self, body: bytes, receipt: Receipt, asked: bool) -> Reading:  # noqa: FBT001 - the port's
        """Read all records."""
        converter = Converter(receipt, NAME)
        items = otlp_json.read(body) if asked else otlp_protobuf.read(body)
        is_empty = len(body) <= _EMPTY_BYTES
        del body
        rest = yield from in_portions(converted(items, converter))
        counts = converter.counts()
        warning = _warning(counts) if converter.records else "" if is_empty else _NOTHING
        return Submission(rest, _Found(asked, warning), counts)

    def answer(self, submission: Submission, outcomes: Sequence[Outcome]) -> Reply:
        """Tell that everything is stored, and what was repaired."""
        found: _Found = submission.context
        refusals = [outcome.detail for outcome in outcomes if isinstance(outcome, Refused)]
        message = f"{len(refusals)} records were refused: {refusals[0]}" if refusals else found.warning
        if found.is_json:
            return Reply(HTTPStatus.OK, _json_answer(len(refusals), message), JSON)
        response = LogsResponse()
        if message:
            response.partial_success.rejected_log_records = len(refusals)
            response.partial_success.error_message = message.encode()
        return Reply(HTTPStatus.OK, response.SerializeToString(), PROTOBUF)

    def refuse(self, error: ProblemError, _: Submission | None, head: Head) -> Reply:
        """Return a `Status`, written as the request was; in JSON for requests that are neither."""
        code = _CODES.get(HTTPStatus(error.status), _WRONG)
        kind = head.first(b"content-type").lower().partition(b";")[0].strip().decode("latin-1")
        if kind in _PROTOBUF_TYPES:
            body = Status(code=code, message=error.detail.encode()).SerializeToString()
            return Reply(error.status, body, PROTOBUF, headers_of(error))
        return Reply(error.status, _encode({"code": code, "message": error.detail}), JSON, headers_of(error))


def _json_answer(rejected: int, message: str) -> bytes:
    if not message:
        return b"{}"
    partial = {"rejectedLogRecords": str(rejected)} if rejected else {}
    return _encode({"partialSuccess": {**partial, "errorMessage": message}})


def _warning(counts: Counts) -> str:
    repaired = ", ".join(f"{what} {number}" for what, number in sorted(counts.repaired.items()))
    return f"all records are stored; some were repaired, see their attribute _repaired: {repaired}" if repaired else ""
