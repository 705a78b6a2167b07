import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.LoggerContext;
import ch.qos.logback.classic.joran.JoranConfigurator;
import ch.qos.logback.core.status.Status;
import com.github.loki4j.slf4j.marker.StructuredMetadataMarker;
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import org.slf4j.LoggerFactory;

/** loki4j, an appender of Logback, as its documentation configures it. */
final class SendLoki4j {
    private static final String CONFIGURATION = """
        <configuration>
          <appender name="LOKI" class="com.github.loki4j.logback.Loki4jAppender">
            <http><url>%s/loki/api/v1/push</url><requestTimeoutMs>120000</requestTimeoutMs></http>
            <labels>
              service_name = %s
              level = %%level
            </labels>
            <message><pattern>%%msg</pattern></message>
            <readMarkers>true</readMarkers>
            <batch><maxItems>100</maxItems><timeoutMs>500</timeoutMs></batch>
          </appender>
          <root level="DEBUG"><appender-ref ref="LOKI"/></root>
        </configuration>
        """;

    private SendLoki4j() {
    }

    public static void main(String[] arguments) throws Exception {
        LoggerContext context = (LoggerContext) LoggerFactory.getILoggerFactory();
        context.reset();
        String configuration = String.format(CONFIGURATION, arguments[0], "shop-" + arguments[2]);
        JoranConfigurator configurator = new JoranConfigurator();
        configurator.setContext(context);
        configurator.doConfigure(new ByteArrayInputStream(configuration.getBytes(StandardCharsets.UTF_8)));
        Logger logger = context.getLogger("checkout");
        for (Sending.Sent record : Sending.records(Integer.parseInt(arguments[1]), arguments[2])) {
            Map<String, String> metadata = new LinkedHashMap<>();
            record.texts().forEach((name, text) -> metadata.put(name, (String) text));
            metadata.put("trace_id", record.trace());
            StructuredMetadataMarker marker = StructuredMetadataMarker.of(() -> metadata);
            logger.atLevel(org.slf4j.event.Level.valueOf(record.level())).addMarker(marker).log(record.message());
            Sending.say(record, null, record.texts());
        }
        // What is left is sent when the appender stops.
        context.stop();
        long failures = context.getStatusManager().getCopyOfStatusList().stream()
            .filter(status -> status.getEffectiveLevel() == Status.ERROR)
            .peek(System.err::println)
            .count();
        Sending.end((int) failures);
    }
}
