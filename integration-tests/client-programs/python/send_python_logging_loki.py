"""A handler for logging that posts each record by itself, and tries once."""

import logging

from logging_loki import LokiHandler
from sending import asked, end, say


class Counting(LokiHandler):  # type: ignore[misc]  # it has no types
    """The handler, with a count of what it hands to `handleError`."""

    failures = 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name
        self.failures += 1
        super().handleError(record)


def main() -> None:
    url, records = asked()
    handler = Counting(f"{url}/loki/api/v1/push", tags={"service_name": records[0].service}, version="1")
    logger = logging.getLogger("checkout")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    for record in records:
        tags = record.texts() | {"trace_id": record.trace}
        logger.log(logging.getLevelName(record.level), record.message, extra={"tags": tags})
        say(record, attributes=record.texts())
    end(handler.failures)


main()
