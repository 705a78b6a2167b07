"""A handler for logging that posts what has come together, gzipped, each line as JSON, and tries once."""

import atexit
import logging
import threading

from loki_logger_handler.loki_logger_handler import LokiLoggerHandler
from sending import asked, end, say

# Records between two requests.
AT_ONCE = 100


def main() -> None:
    url, records = asked()
    handler: list[LokiLoggerHandler] = []
    answered = threading.Semaphore(0)
    # The handler sends the rest when Python ends, and of what is to be done then, the last is done first.
    atexit.register(lambda: end(int(handler[0].error)))
    handler.append(
        LokiLoggerHandler(
            f"{url}/loki/api/v1/push",
            labels={"service_name": records[0].service},
            label_keys={"level": "level"},
            enable_structured_loki_metadata=True,
            enable_self_errors=True,
            timeout=3600,
        )
    )
    post = handler[0].request.send

    def send(data: str) -> None:
        try:
            post(data)
        finally:
            answered.release()

    # When Python ends, the handler does not wait for a request in flight, and it does not tell when one is answered.
    handler[0].request.send = send
    logger = logging.getLogger("checkout")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler[0])
    for record in records:
        if record.number % AT_ONCE == 0 and record.number > 0:
            handler[0].flush_event.set()
            answered.acquire()
        metadata = record.texts() | {"trace_id": record.trace}
        logger.log(logging.getLevelName(record.level), record.message, extra={"loki_metadata": metadata})
        say(record, message_in="message", attributes=record.texts())


main()
