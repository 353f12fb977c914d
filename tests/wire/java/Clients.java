import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.flume.Event;
import org.apache.flume.EventDeliveryException;
import org.apache.flume.FlumeException;
import org.apache.flume.api.RpcClient;
import org.apache.flume.api.RpcClientFactory;
import org.apache.flume.event.EventBuilder;

/**
 * Flume's Java clients against two avro sources.
 *
 * <pre>
 *   java Clients.java FIRST_PORT SECOND_PORT DEAD_PORT DEFLATE_PORT TLS_PORT TRUST_STORE
 *   java Clients.java thrift COMPACT_PORT BINARY_PORT TLS_PORT TRUST_STORE
 *   java Clients.java refused FULL_PORT DENYING_PORT
 *   java Clients.java on CLIENT_TYPE FIRST_PORT SECOND_PORT
 *
 *   default         events of every shape to the first source, one by one and as a batch; a batch through deflate, one through TLS
 *   failover        200 events, the dead port first in the list
 *   load balancing  200 events in batches of 10 over both sources
 *   refused         a batch for which the channel has no room, then an event for which it has; an event that a rule forbids
 *   on              batches of 10 until a line comes from stdin, and twenty more
 * </pre>
 */
public final class Clients {
  public static void main(String[] words) throws Exception {
    switch (words[0]) {
      case "thrift":
        thrift(words);
        return;
      case "refused":
        refused(words);
        return;
      case "on":
        on(words);
        return;
      default:
        break;
    }
    String first = "127.0.0.1:" + words[0];
    String second = "127.0.0.1:" + words[1];
    String dead = "127.0.0.1:" + words[2];
    String deflate = "127.0.0.1:" + words[3];
    String tls = "127.0.0.1:" + words[4];

    RpcClient client = RpcClientFactory.getInstance(properties("DEFAULT", first));
    for (Event event : shapes()) {
      client.append(event);
    }
    client.appendBatch(shapes());
    client.appendBatch(Collections.emptyList());
    client.close();

    Properties compressed = properties("DEFAULT", deflate);
    compressed.setProperty("compression-type", "deflate");
    client = RpcClientFactory.getInstance(compressed);
    client.appendBatch(shapes());
    client.close();

    Properties sealed = properties("DEFAULT", tls);
    sealed.setProperty("ssl", "true");
    sealed.setProperty("truststore", words[5]);
    sealed.setProperty("truststore-password", "changeit");
    client = RpcClientFactory.getInstance(sealed);
    client.appendBatch(shapes());
    client.close();

    client = RpcClientFactory.getInstance(properties("DEFAULT_FAILOVER", dead, first));
    client.appendBatch(numbered("failover", 200));
    client.close();

    client = RpcClientFactory.getInstance(properties("DEFAULT_LOADBALANCE", first, second));
    List<Event> events = numbered("balanced", 200);
    for (int i = 0; i < events.size(); i += 10) {
      client.appendBatch(events.subList(i, i + 10));
    }
    client.close();
    System.out.println("all sent");
    System.exit(0);
  }

  /** Events of every shape one by one and as a batch, in the compact protocol; a batch in the binary one, one through TLS. */
  private static void thrift(String[] words) throws Exception {
    RpcClient client = RpcClientFactory.getInstance(properties("THRIFT", "127.0.0.1:" + words[1]));
    for (Event event : shapes()) {
      client.append(event);
    }
    client.appendBatch(shapes());
    client.close();

    Properties binary = properties("THRIFT", "127.0.0.1:" + words[2]);
    binary.setProperty("protocol", "binary");
    client = RpcClientFactory.getInstance(binary);
    client.appendBatch(shapes());
    client.close();

    Properties sealed = properties("THRIFT", "127.0.0.1:" + words[3]);
    sealed.setProperty("ssl", "true");
    sealed.setProperty("truststore", words[4]);
    sealed.setProperty("truststore-password", "changeit");
    client = RpcClientFactory.getInstance(sealed);
    client.appendBatch(shapes());
    client.close();
    System.out.println("all sent");
    System.exit(0);
  }

  private static void refused(String[] words) throws Exception {
    RpcClient client = RpcClientFactory.getInstance(properties("DEFAULT", "127.0.0.1:" + words[1]));
    try {
      client.appendBatch(numbered("too many", 20));
      throw new IllegalStateException("more was taken in than there is room for");
    } catch (EventDeliveryException full) {
      client.close();
    }
    client = RpcClientFactory.getInstance(properties("DEFAULT", "127.0.0.1:" + words[1]));
    client.append(numbered("one", 1).get(0));
    client.close();
    try {
      client = RpcClientFactory.getInstance(properties("DEFAULT", "127.0.0.1:" + words[2]));
      client.append(numbered("denied", 1).get(0));
      throw new IllegalStateException("a rule forbids it");
    } catch (EventDeliveryException | FlumeException denied) {
      client.close();
    }
    System.out.println("all refused");
    System.exit(0);
  }

  private static void on(String[] words) throws Exception {
    RpcClient client =
        RpcClientFactory.getInstance(properties(words[1], "127.0.0.1:" + words[2], "127.0.0.1:" + words[3]));
    int sent = 0;
    int left = 20;
    while (left > 0) {
      List<Event> events = new ArrayList<>();
      for (int i = 0; i < 10; i++) {
        events.add(EventBuilder.withBody(String.valueOf(sent++), StandardCharsets.UTF_8));
      }
      client.appendBatch(events);
      System.out.println("sent " + sent);
      if (left < 20 || System.in.available() > 0) {
        left--;
      }
    }
    client.close();
    System.out.println("all sent");
    System.exit(0);
  }

  private static Properties properties(String type, String... hosts) {
    Properties properties = new Properties();
    properties.setProperty("client.type", type);
    List<String> names = new ArrayList<>();
    for (int i = 0; i < hosts.length; i++) {
      names.add("h" + i);
      properties.setProperty("hosts.h" + i, hosts[i]);
    }
    properties.setProperty("hosts", String.join(" ", names));
    properties.setProperty("batch-size", "100");
    // A busy machine must not make of one call two.
    properties.setProperty("connect-timeout", "300000");
    properties.setProperty("request-timeout", "300000");
    return properties;
  }

  private static List<Event> numbered(String name, int count) {
    List<Event> events = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      events.add(EventBuilder.withBody(name + " " + i, StandardCharsets.UTF_8));
    }
    return events;
  }

  /** The same as in main.rs. */
  private static List<Event> shapes() {
    byte[] all = new byte[256];
    for (int i = 0; i < all.length; i++) {
      all[i] = (byte) i;
    }
    byte[] large = new byte[10_000_000];
    for (int i = 0; i < large.length; i++) {
      large[i] = (byte) (i * 31 + i / 256);
    }
    char[] value = new char[100_000];
    Arrays.fill(value, 'v');
    Map<String, String> many = new LinkedHashMap<>();
    for (int i = 0; i < 100; i++) {
      many.put("key" + i, "value" + i);
    }
    return Arrays.asList(
        event(Collections.emptyMap(), "plain".getBytes(StandardCharsets.UTF_8)),
        event(Collections.singletonMap("empty", ""), new byte[0]),
        event(Collections.singletonMap("", "no key"), all),
        event(Collections.singletonMap("schl\u00fcssel \u6f22", "wert \u2713 \ud83d\ude00"),
            "\u00fc\u6f22\ud83d\ude00".getBytes(StandardCharsets.UTF_8)),
        event(Collections.singletonMap("line\nend = ,{}", "\ta\\b\r\n"), "signs".getBytes(StandardCharsets.UTF_8)),
        event(many, "many headers".getBytes(StandardCharsets.UTF_8)),
        event(Collections.singletonMap("long", new String(value)), "long header".getBytes(StandardCharsets.UTF_8)),
        event(Collections.singletonMap("size", "large"), large));
  }

  private static Event event(Map<String, String> headers, byte[] body) {
    return EventBuilder.withBody(body, new LinkedHashMap<>(headers));
  }
}
