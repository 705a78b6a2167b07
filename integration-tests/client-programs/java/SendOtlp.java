import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.logs.Logger;
import io.opentelemetry.api.logs.Severity;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.context.Context;
import io.opentelemetry.exporter.otlp.http.logs.OtlpHttpLogRecordExporter;
import io.opentelemetry.sdk.logs.SdkLoggerProvider;
import io.opentelemetry.sdk.logs.export.BatchLogRecordProcessor;
import io.opentelemetry.sdk.resources.Resource;
import java.time.Duration;
import java.time.Instant;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;

/** OpenTelemetry's SDK for Java, with its exporter for OTLP over HTTP: protobuf in gzip, chunked. */
final class SendOtlp {
    private SendOtlp() {
    }

    public static void main(String[] arguments) throws Exception {
        AtomicInteger failures = new AtomicInteger();
        java.util.logging.Logger.getLogger("io.opentelemetry").addHandler(counting(failures));
        // By default an export is given up after ten seconds, retries included.
        OtlpHttpLogRecordExporter exporter = OtlpHttpLogRecordExporter.builder()
            .setEndpoint(arguments[0] + "/v1/logs")
            .setCompression("gzip")
            .setTimeout(Duration.ofSeconds(120))
            .build();
        SdkLoggerProvider provider = SdkLoggerProvider.builder()
            .setResource(Resource.builder()
                .put("service.name", "shop-" + arguments[2])
                .put("host.name", "till-1")
                .build())
            .addLogRecordProcessor(BatchLogRecordProcessor.builder(exporter)
                .setMaxExportBatchSize(100)
                .setExporterTimeout(Duration.ofSeconds(150))
                .build())
            .build();
        Logger logger = provider.loggerBuilder("checkout").setInstrumentationVersion("1.2").build();
        for (Sending.Sent record : Sending.records(Integer.parseInt(arguments[1]), arguments[2])) {
            Instant now = Instant.now();
            logger.logRecordBuilder()
                .setTimestamp(now)
                .setContext(Context.root().with(Span.wrap(SpanContext.create(
                    record.trace(),
                    String.format("%016x", record.number() + 1),
                    TraceFlags.getSampled(),
                    TraceState.getDefault()))))
                .setSeverity(Severity.valueOf(record.level()))
                .setSeverityText(record.level())
                .setBody(record.message())
                .setAllAttributes(attributes(record))
                .emit();
            String timeNs = String.valueOf(now.getEpochSecond() * 1_000_000_000L + now.getNano());
            Sending.say(record, timeNs, record.attributes());
        }
        if (!provider.forceFlush().join(300, TimeUnit.SECONDS).isSuccess()) {
            failures.incrementAndGet();
        }
        provider.shutdown().join(60, TimeUnit.SECONDS);
        Sending.end(failures.get());
    }

    private static Attributes attributes(Sending.Sent record) {
        return Attributes.builder()
            .put(AttributeKey.longKey("number"), (Long) record.attributes().get("number"))
            .put(AttributeKey.doubleKey("ratio"), (Double) record.attributes().get("ratio"))
            .put(AttributeKey.booleanKey("flag"), (Boolean) record.attributes().get("flag"))
            .put(AttributeKey.stringKey("place"), (String) record.attributes().get("place"))
            .build();
    }

    /** Count what the SDK complains of. */
    private static Handler counting(AtomicInteger failures) {
        return new Handler() {
            @Override
            public void publish(LogRecord record) {
                if (record.getLevel().intValue() >= Level.WARNING.intValue()) {
                    failures.incrementAndGet();
                }
            }

            @Override
            public void flush() {
                // Nothing is kept.
            }

            @Override
            public void close() {
                // Nothing is open.
            }
        };
    }
}
