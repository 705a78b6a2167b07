"""OpenTelemetry's SDK for Python, with its exporter for OTLP over HTTP."""

import logging
import time

from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from sending import LEVELS, asked, end, say

SEVERITIES = dict(
    zip(LEVELS, (SeverityNumber.DEBUG, SeverityNumber.INFO, SeverityNumber.WARN, SeverityNumber.ERROR), strict=True)
)


class Failures(logging.Handler):
    """Counts what the SDK complains of."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += record.levelno >= logging.ERROR


def main() -> None:
    url, records = asked()
    failures = Failures()
    logging.basicConfig()
    logging.getLogger("opentelemetry").addHandler(failures)
    # By default an export is given up after ten seconds, retries included.
    exporter = OTLPLogExporter(endpoint=f"{url}/v1/logs", timeout=120)
    provider = LoggerProvider(resource=Resource({"service.name": records[0].service, "host.name": "till-1"}))
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, max_export_batch_size=100))
    logger = provider.get_logger("checkout", "1.2")
    for record in records:
        span = NonRecordingSpan(
            SpanContext(int(record.trace, 16), record.number + 1, is_remote=False, trace_flags=TraceFlags(1))
        )
        time_ns = time.time_ns()
        logger.emit(
            timestamp=time_ns,
            context=set_span_in_context(span),
            severity_number=SEVERITIES[record.level],
            severity_text=record.level,
            body=record.message,
            attributes=record.attributes,
        )
        say(record, time_ns=str(time_ns))
    provider.force_flush()
    provider.shutdown()
    end(failures.count)


main()
