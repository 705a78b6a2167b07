"""A handler for logging that posts what has come together, gzipped, each line as JSON, and tries once."""

import atexit
import logging

from loki_logger_handler.loki_logger_handler import LokiLoggerHandler
from sending import asked, end, say

# Records between two requests.
AT_ONCE = 100


def main() -> None:
    url, records = asked()
    handler: list[LokiLoggerHandler] = []
    # The handler sends the rest when Python ends, and of what is to be done then, the last is done first.
    atexit.register(lambda: end(int(handler[0].error)))
    handler.append(
        LokiLoggerHandler(
            f"{url}/loki/api/v1/push",
            labels={"service_name": records[0].service},
            label_keys={"level": "level"},
            enable_structured_loki_metadata=True,
            enable_self_errors=True,
        )
    )
    logger = logging.getLogger("checkout")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler[0])
    for record in records:
        metadata = record.texts() | {"trace_id": record.trace}
        logger.log(logging.getLevelName(record.level), record.message, extra={"loki_metadata": metadata})
        say(record, message_in="message", attributes=record.texts())
        if record.number % AT_ONCE == AT_ONCE - 1:
            handler[0].flush_event.set()


main()
