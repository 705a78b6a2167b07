import java.io.BufferedOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** What all programs in Java have in common; client-programs/python/sending.py says what a program is. */
final class Sending {
    private static final String[] LEVELS = {"DEBUG", "INFO", "WARN", "ERROR"};
    private static final int TOGETHER = 10;
    private static final int CLIENT_FAILED = 3;

    private static final PrintStream OUT =
        new PrintStream(new BufferedOutputStream(System.out), false, StandardCharsets.UTF_8);

    private Sending() {
    }

    /** A record, as all programs make it. */
    record Sent(int number, String service, String level, String message, String trace, Map<String, Object> attributes) {
        /** The attributes for a protocol that has only texts. */
        Map<String, Object> texts() {
            Map<String, Object> texts = new LinkedHashMap<>();
            attributes.forEach((name, value) -> texts.put(name, value.toString()));
            return texts;
        }
    }

    static List<Sent> records(int count, String seed) throws NoSuchAlgorithmException {
        List<Sent> records = new ArrayList<>();
        for (int number = 0; number < count; number++) {
            Map<String, Object> attributes = new LinkedHashMap<>();
            attributes.put("number", (long) number);
            attributes.put("ratio", number + 0.5);
            attributes.put("flag", number % 2 == 0);
            attributes.put("place", "Zürich");
            String message = "record " + number + " of " + seed + ": Grüße ☃";
            String level = LEVELS[number % LEVELS.length];
            records.add(new Sent(number, "shop-" + seed, level, message, trace(seed, number), attributes));
        }
        return records;
    }

    private static String trace(String seed, int number) throws NoSuchAlgorithmException {
        byte[] text = (seed + "/" + number / TOGETHER).getBytes(StandardCharsets.UTF_8);
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(text)).substring(0, 32);
    }

    /** Print what was sent; `timeNs` is null where the client takes the time by itself. */
    static void say(Sent sent, String timeNs, Map<String, Object> attributes) {
        Map<String, Object> told = new LinkedHashMap<>();
        told.put("number", sent.number());
        told.put("service", sent.service());
        told.put("level", sent.level());
        told.put("message", sent.message());
        told.put("trace", sent.trace());
        if (timeNs != null) {
            told.put("time_ns", timeNs);
        }
        told.put("attributes", attributes);
        OUT.println(json(told));
    }

    /** Write what this program says, which has no character that JSON needs escaped. */
    private static String json(Object value) {
        if (value instanceof Map<?, ?> map) {
            return map.entrySet().stream()
                .map(entry -> json(entry.getKey()) + ":" + json(entry.getValue()))
                .collect(Collectors.joining(",", "{", "}"));
        }
        return value instanceof String ? "\"" + value + "\"" : String.valueOf(value);
    }

    /** End at once, and tell whether the client has reported failures. */
    static void end(int failures) {
        OUT.flush();
        Runtime.getRuntime().halt(failures > 0 ? CLIENT_FAILED : 0);
    }
}
