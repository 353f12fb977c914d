import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import org.apache.flume.Event;
import org.apache.flume.api.RpcClient;
import org.apache.flume.api.RpcClientFactory;
import org.apache.flume.event.EventBuilder;

/**
 * Flume's own RPC client as a load for an avro source.
 *
 * <pre>
 *   java WireLoad PORT CLIENTS BATCH BODY_BYTES WARM_SECONDS SECONDS EVENTS_PER_SECOND
 *
 *   each client, a thread   appendBatch of BATCH events with two headers, again and again; at a rate above 0 each batch at its
 *                           time
 * </pre>
 *
 * What is acknowledged in the SECONDS behind the WARM_SECONDS counts. Prints one line of JSON: events, seconds, and the
 * latencies of a batch in microseconds.
 */
public final class WireLoad {
  private static volatile boolean measuring;
  private static volatile boolean over;
  private static final AtomicLong EVENTS = new AtomicLong();

  public static void main(String[] words) throws Exception {
    String port = words[0];
    int clients = Integer.parseInt(words[1]);
    int batch = Integer.parseInt(words[2]);
    int bodyBytes = Integer.parseInt(words[3]);
    double warmSeconds = Double.parseDouble(words[4]);
    double seconds = Double.parseDouble(words[5]);
    double rate = Double.parseDouble(words[6]);

    List<Thread> threads = new ArrayList<>();
    List<List<Long>> latencies = new ArrayList<>();
    for (int i = 0; i < clients; i++) {
      List<Long> own = new ArrayList<>();
      latencies.add(own);
      Thread thread = new Thread(() -> {
        try {
          load(port, batch, bodyBytes, rate / clients, own);
        } catch (Throwable problem) {
          problem.printStackTrace();
          System.exit(1);
        }
      });
      threads.add(thread);
      thread.start();
    }
    Thread.sleep((long) (warmSeconds * 1000));
    long start = System.nanoTime();
    measuring = true;
    Thread.sleep((long) (seconds * 1000));
    measuring = false;
    double spent = (System.nanoTime() - start) / 1e9;
    over = true;
    for (Thread thread : threads) {
      thread.join();
    }
    long[] all = latencies.stream().flatMap(List::stream).mapToLong(Long::longValue).sorted().toArray();
    System.out.println(String.format(Locale.ROOT, "{\"events\":%d,\"seconds\":%.6f,\"p50_us\":%.1f,\"p99_us\":%.1f}",
        EVENTS.get(), spent, at(all, 0.5), at(all, 0.99)));
    System.exit(0);
  }

  private static double at(long[] sorted, double part) {
    return sorted.length == 0 ? 0 : sorted[(int) Math.min(sorted.length - 1, sorted.length * part)] / 1e3;
  }

  private static void load(String port, int batch, int bodyBytes, double rate, List<Long> latencies) throws Exception {
    Properties properties = new Properties();
    properties.setProperty("hosts", "h");
    properties.setProperty("hosts.h", "127.0.0.1:" + port);
    properties.setProperty("batch-size", String.valueOf(batch));
    RpcClient client = RpcClientFactory.getInstance(properties);
    byte[] body = new byte[bodyBytes];
    Arrays.fill(body, (byte) 'x');
    Event event = EventBuilder.withBody(body, Map.of("host", "web-1.example.org", "timestamp", "1763712000000"));
    List<Event> events = new ArrayList<>();
    for (int i = 0; i < batch; i++) {
      events.add(event);
    }
    long begun = System.nanoTime();
    for (long sent = 0; !over; sent++) {
      long due = rate > 0 ? begun + (long) (sent * batch / rate * 1e9) : System.nanoTime();
      long early;
      while ((early = due - System.nanoTime()) > 0) {
        LockSupport.parkNanos(early);
      }
      client.appendBatch(events);
      if (measuring) {
        EVENTS.addAndGet(batch);
        // From when it was due: a server that stands still is not asked less.
        latencies.add(System.nanoTime() - due);
      }
    }
    client.close();
  }
}
