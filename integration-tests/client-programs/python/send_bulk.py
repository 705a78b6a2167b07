"""The bulk helpers of the clients for Elasticsearch and OpenSearch, which are alike: `send_bulk.py` with the package's name."""

import importlib
import sys

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sending import Record, asked, end, say

INDEX = "logs-shop-default"


def documents(records: list[Record]) -> Iterator[dict[str, Any]]:
    for record in records:
        now = datetime.now(UTC)
        say(record, time_ns=str((int(now.timestamp()) * 1_000_000 + now.microsecond) * 1_000))
        yield {
            "_op_type": "create",
            "_index": INDEX,
            "@timestamp": now.isoformat(),
            "message": record.message,
            "log": {"level": record.level.lower()},
            "service": {"name": record.service},
            "trace": {"id": record.trace},
            "host": {"name": "till-1"},
            **record.attributes,
        }


def main() -> None:
    package = sys.argv.pop(1)
    url, records = asked()
    library = importlib.import_module(package)
    client_class = library.Elasticsearch if package == "elasticsearch" else library.OpenSearch
    helpers = importlib.import_module(f"{package}.helpers")
    failures = 0
    patient = {"request_timeout": 120} if package == "elasticsearch" else {"timeout": 120}
    # By default an answer of 503 is tried again; whether a broken connection is differs.
    client = client_class(url, **patient)
    try:
        for succeeded, _ in helpers.streaming_bulk(client, documents(records), chunk_size=100, raise_on_error=False):
            failures += not succeeded
    except Exception as exc:  # noqa: BLE001 - whatever the client has for it, it is a report of failure
        print(repr(exc), file=sys.stderr)  # noqa: T201 - the program's log
        failures += 1
    end(failures)


main()
