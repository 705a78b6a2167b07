"""Structured logs: one JSON object a line on standard output, control characters escaped."""

import logging
import sys

from typing import Literal

import structlog

LogLevel = Literal["debug", "info", "warning", "error"]


def _without_colours(
    _logger: structlog.typing.WrappedLogger, _method: str, line: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    # uvicorn logs everything a second time, for terminals.
    line.pop("color_message", None)
    return line


def configure(service: str, region: str | None = None, level: LogLevel = "info") -> None:
    """
    Send structlog's and the standard library's records through one JSON renderer.

    Args:
        service: Name of the process, part of every line.
        region: Part of every line when given.
        level: Least severe level that is written.
    """
    shared_steps: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _without_colours,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared_steps, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared_steps,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # httpx logs for each request what our metrics count. aiokafka logs ten times a second that Kafka is away, which the
    # services log once.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    structlog.contextvars.bind_contextvars(service=service, **({"region": region} if region else {}))
