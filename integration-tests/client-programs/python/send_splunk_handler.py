"""A handler for logging that posts what has come together as events of Splunk's, each a text of JSON."""

import json
import logging

from sending import Record, asked, end, say
from splunk_handler import SplunkHandler

# Records between two requests.
AT_ONCE = 100


class Counting(SplunkHandler):  # type: ignore[misc]  # it has no types
    """The handler, with a count of what it complains of."""

    failures = 0

    def write_log(self, log_message: str) -> None:
        self.failures += log_message.startswith("Exception")


class AsJson(logging.Formatter):
    """Writes what a record carries, as formatters of structured logs do."""

    def format(self, record: logging.LogRecord) -> str:
        sent: Record = record.sent  # type: ignore[attr-defined]  # given below
        fields = {"message": record.getMessage(), "level": record.levelname, "trace_id": sent.trace}
        return json.dumps(fields | sent.attributes)


def main() -> None:
    url, records = asked()
    # By default a request may take a minute. Nothing is posted before it is asked for.
    handler = Counting(
        host="",
        port=0,
        token="any",
        index="main",
        hostname="till-1",
        source=f"/srv/{records[0].service}",
        url=f"{url}/services/collector/event",
        flush_interval=3600,
        timeout=120,
        protocol="http",
        verify=False,
    )
    handler.setFormatter(AsJson())
    logger = logging.getLogger("checkout")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    for record in records:
        logger.log(logging.getLevelName(record.level), record.message, extra={"sent": record})
        say(record)
        if record.number % AT_ONCE == AT_ONCE - 1:
            handler.force_flush()
    handler.force_flush()
    end(handler.failures)


main()
