import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.URL;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.regex.Pattern;
import java.util.zip.GZIPInputStream;

/** Calls Keepa as its official Java client does on the wire, with nothing but the JDK. */
public final class KeepaClient {
    static final String KEY = System.getenv("KEEPA_API_KEY");
    // The official client has the default only: there it is the name that leads to the gateway.
    static final String BASE =
            System.getenv().getOrDefault("KEEPA_BASE_URL", "https://api.keepa.com");
    static final String SELECTION =
            "{\"brand\": [\"Brand & Söhne\"], \"current_SALES_lte\": 20000, \"perPage\": 50}";

    record Answer(int status, String body) {
        /** Reads an int, as the official client does: 1500.5 is an error. */
        int number(String field) {
            var found = Pattern.compile("\"" + field + "\"\\s*:\\s*([^,}\\s]+)").matcher(body);
            return found.find() ? Integer.parseInt(found.group(1)) : 0;
        }
    }

    /** Sends a GET, or a POST where there is JSON to send; all answers have to be gzip. */
    static Answer send(String path, String query, String json) throws IOException {
        var url = new URL(BASE + "/" + path + "?key=" + KEY + "&" + query);
        var call = (HttpURLConnection) url.openConnection();
        call.setRequestProperty("Accept-Encoding", "gzip");
        call.setConnectTimeout(30_000);
        call.setReadTimeout(120_000);
        if (json != null) {
            call.setRequestMethod("POST");
            call.setRequestProperty("Content-Type", "application/json; charset=UTF-8");
            call.setDoOutput(true);
            call.getOutputStream().write(json.getBytes(StandardCharsets.UTF_8));
        }
        int status = call.getResponseCode();
        var body = status == 200 ? call.getInputStream() : call.getErrorStream();
        try (var unzipped = new GZIPInputStream(body)) {
            return new Answer(status, new String(unzipped.readAllBytes(), StandardCharsets.UTF_8));
        }
    }

    /** Sends until there is an answer: after `refillIn` when tokens are short, else in growing steps. */
    static String sendWithRetry(String path, String query, String json) throws Exception {
        for (int pause = 100; ; pause = Math.min(2 * pause + 100, 60_000)) {
            var answer = send(path, query, json);
            switch (answer.status) {
                case 200:
                    return answer.body;
                case 400, 402, 405, 500:
                    throw new IOException(answer.body);
                case 429:
                    Thread.sleep(answer.number("refillIn") + 100);
                    break;
                default:
                    Thread.sleep(pause);
            }
        }
    }

    static String encode(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }

    public static void main(String[] arguments) throws Exception {
        String asins = encode("B000000001,B000000002");
        String products = sendWithRetry("product", "asin=" + asins + "&domain=1", null);
        long answeredAtMs = System.currentTimeMillis();
        String deals = sendWithRetry("deal", "", "{\"page\": 0, \"domainId\": 1}");
        String found = sendWithRetry("query", "domain=1&selection=" + encode(SELECTION), null);
        System.out.printf(
                "{\"answers\": [%s, %s, %s], \"answered_at_ms\": %d}%n",
                products, deals, found, answeredAtMs);
    }
}
