import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.regex.Pattern;

/**
 * What a Java application does, with WeChat's hosts written into it.
 *
 * <pre>java -Djavax.net.ssl.trustStore=… -Dhttps.proxyHost=… Captured.java &lt;appid&gt; &lt;secret&gt;</pre>
 */
class Captured {
    private static final HttpClient client = HttpClient.newHttpClient();

    private static String call(String url) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url)).build();
        return client.send(request, HttpResponse.BodyHandlers.ofString()).body();
    }

    public static void main(String[] args) throws Exception {
        String answer = call("https://api.weixin.qq.com/cgi-bin/token?grant_type=client_credential&appid=" + args[0] + "&secret=" + args[1]);
        var token = Pattern.compile("\"access_token\":\"([^\"]+)\"").matcher(answer);
        if (!token.find()) {
            throw new IllegalStateException(answer);
        }
        for (String base : new String[] {"https://api.weixin.qq.com", "http://file.api.weixin.qq.com"}) {
            String users = call(base + "/cgi-bin/user/get?access_token=" + token.group(1));
            if (!users.contains("\"total\":")) {
                throw new IllegalStateException(users);
            }
        }
    }
}
