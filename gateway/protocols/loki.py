"""
Grafana Loki's push API. Pure.

`application/json` is JSON; everything else, and nothing, is Protocol Buffers in one block of snappy, unless it is JSON all the
same. The answer to what was stored is 204, and errors are lines of text. No record of a body that can be read is refused:
Loki's clients drop a batch that is answered with 400, and retry one that is answered with 503.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from gateway.protocols import loki_json, loki_protobuf
from gateway.protocols.convert import Converter
from gateway.protocols.converted import converted
from gateway.protocols.portions import in_portions
from shared.event.outcome import Outcome
from shared.ingest.head import Head
from shared.ingest.media_type import JSON_TYPES
from shared.ingest.protocol import Reading, Reply, Submission, headers_of
from shared.ingest.receipt import Receipt
from shared.ingest.shipping import MAX_BODY_BYTES
from shared.wire.problem import ProblemError

_TEXT: Final = b"text/plain; charset=utf-8"


class LokiPush:
    """`POST /loki/api/v1/push`."""

    max_body_bytes = MAX_BODY_BYTES

    @staticmethod
    def is_snappy(head: Head) -> bool:
        """Return whether the body is one block of snappy, below any coding that its head names."""
        return head.media_type not in JSON_TYPES

    def check(self, head: Head) -> bool:
        """Return whether the body is JSON."""
        return head.media_type in JSON_TYPES

    def read(self, body: bytes, receipt: Receipt, asked: Any) -> Reading:
        """Read all streams, of JSON if so is asked, or if they begin as no message of Protocol Buffers does."""
        items = loki_json.read(body) if asked or body.startswith(b"{") else loki_protobuf.read(body)
        converter = Converter(receipt, "loki")
        rest = yield from in_portions(converted(items, converter))
        return Submission(rest, counts=converter.counts())

    def answer(self, _: Submission, __: Sequence[Outcome]) -> Reply:
        """Tell that everything is stored."""
        return Reply(HTTPStatus.NO_CONTENT, b"", _TEXT)

    def refuse(self, error: ProblemError, _: Submission | None, __: Head) -> Reply:
        """Tell an error in a line of text, as Loki does."""
        return Reply(error.status, f"{error.detail}\n".encode(), _TEXT, headers_of(error))
