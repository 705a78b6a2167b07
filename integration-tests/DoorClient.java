import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.List;

/** Posts events as Java programs do that set nothing: such a client offers HTTP/2 with its requests. */
public class DoorClient {
    public static void main(String[] urls) throws Exception {
        var event = "{\"serviceName\":\"java\",\"level\":\"SEVERE\",\"message\":\"%s\",\"correlationId\":\"j\"}";
        for (var url : urls) {
            var client = HttpClient.newHttpClient();
            for (var path : List.of("/api/logs", "/api/logs/batch")) {
                for (var way : List.of("length", "chunked", "again")) {
                    var text = event.formatted(way);
                    var bytes = (path.endsWith("batch") ? "[" + text + "," + text + "]" : text).getBytes(StandardCharsets.UTF_8);
                    BodyPublisher body = way.equals("chunked")
                        ? BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(bytes))
                        : BodyPublishers.ofByteArray(bytes);
                    var request = HttpRequest.newBuilder(URI.create(url + path))
                        .header("Content-Type", "application/json").POST(body).build();
                    var answer = client.send(request, BodyHandlers.ofString());
                    System.out.println(answer.statusCode() + " " + answer.body());
                }
            }
        }
    }
}
