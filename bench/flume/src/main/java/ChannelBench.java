import java.io.File;
import java.util.Arrays;
import java.util.Collections;
import java.util.Locale;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.flume.Channel;
import org.apache.flume.ChannelException;
import org.apache.flume.Context;
import org.apache.flume.Event;
import org.apache.flume.Transaction;
import org.apache.flume.channel.MemoryChannel;
import org.apache.flume.channel.file.FileChannel;
import org.apache.flume.conf.Configurables;
import org.apache.flume.event.EventBuilder;

/**
 * Put and take at once through one of Flume's channels, as Flume's sources and sinks use it.
 *
 * <pre>
 *   java ChannelBench memory|file DIRECTORY PRODUCERS PUT_BATCH BODY_BYTES SECONDS CAPACITY:TAKE_BATCH...
 *
 *   producer    body: a copy of a template with the producer's next number in its first bytes
 *               begin, PUT_BATCH times put, commit
 *   taker       begin, TAKE_BATCH times take, each producer's numbers checked for gaps, commit
 * </pre>
 *
 * A phase ends when all that was put has been taken and committed. The first phases warm the machine up and are not
 * counted; they also say how many events SECONDS take. Prints one line of JSON with a run for each CAPACITY:TAKE_BATCH.
 */
public final class ChannelBench {
  private static final double WARM_SECONDS = 5;

  private final Channel channel;
  private final int producers;
  private final int putBatch;
  private final int bodyBytes;
  private final int takeBatch;
  /** Each producer's number of its next event, and the one that the taker expects. */
  private final long[] next;
  private final long[] expected;

  private ChannelBench(Channel channel, int producers, int putBatch, int bodyBytes, int takeBatch) {
    this.channel = channel;
    this.producers = producers;
    this.putBatch = putBatch;
    this.bodyBytes = bodyBytes;
    this.takeBatch = takeBatch;
    this.next = new long[producers];
    this.expected = new long[producers];
  }

  public static void main(String[] words) throws Exception {
    String kind = words[0];
    File directory = new File(words[1]);
    int producers = Integer.parseInt(words[2]);
    int putBatch = Integer.parseInt(words[3]);
    int bodyBytes = Integer.parseInt(words[4]);
    double seconds = Double.parseDouble(words[5]);
    StringBuilder out = new StringBuilder("{\"runs\":[");
    for (String one : Arrays.copyOfRange(words, 6, words.length)) {
      int capacity = Integer.parseInt(one.split(":")[0]);
      int takeBatch = Integer.parseInt(one.split(":")[1]);
      Channel channel = open(kind, new File(directory, "flume-" + capacity + "-" + takeBatch), capacity);
      ChannelBench bench = new ChannelBench(channel, producers, putBatch, bodyBytes, takeBatch);
      long round = (long) producers * putBatch;
      long events = 50 * round;
      double spent = bench.phase(events);
      // The compiler needs its time once in a life.
      for (double warm = out.charAt(out.length() - 1) == '[' ? WARM_SECONDS : seconds; warm > 0; warm -= spent) {
        events = Math.max(1, (long) (events / spent * seconds / round)) * round;
        spent = bench.phase(events);
      }
      events = Math.max(1, (long) (events / spent * seconds / round)) * round;
      spent = bench.phase(events);
      channel.stop();
      out.append(out.charAt(out.length() - 1) == '[' ? "" : ",");
      out.append(String.format(Locale.ROOT,
          "{\"capacity\":%d,\"take_batch\":%d,\"events\":%d,\"seconds\":%.6f}", capacity, takeBatch, events, spent));
    }
    System.out.println(out.append("]}"));
    // Flume's channels leave threads behind.
    System.exit(0);
  }

  private static Channel open(String kind, File directory, int capacity) {
    Context context = new Context();
    context.put("capacity", String.valueOf(capacity));
    context.put("transactionCapacity", "10000");
    Channel channel;
    if (kind.equals("file")) {
      context.put("checkpointDir", new File(directory, "checkpoint").getPath());
      context.put("dataDirs", new File(directory, "data").getPath());
      channel = new FileChannel();
    } else {
      channel = new MemoryChannel();
    }
    channel.setName(kind);
    Configurables.configure(channel, context);
    channel.start();
    return channel;
  }

  /** Puts and takes so many events; returns the seconds until the last one's take was committed. */
  private double phase(long events) throws Exception {
    AtomicReference<Throwable> failure = new AtomicReference<>();
    CyclicBarrier ready = new CyclicBarrier(producers + 2);
    Thread[] threads = new Thread[producers + 1];
    for (int i = 0; i <= producers; i++) {
      int number = i;
      threads[i] = new Thread(() -> {
        try {
          ready.await();
          if (number < producers) {
            produce(number, events / producers);
          } else {
            take(events);
          }
        } catch (Throwable problem) {
          failure.set(problem);
          // The others would wait for events or room for ever.
          problem.printStackTrace();
          System.exit(1);
        }
      });
      threads[i].start();
    }
    ready.await();
    long start = System.nanoTime();
    for (Thread thread : threads) {
      thread.join();
    }
    return (System.nanoTime() - start) / 1e9;
  }

  private void produce(int producer, long events) {
    byte[] template = new byte[bodyBytes];
    long state = producer * 0x9e3779b97f4a7c15L | 1;
    for (int i = 0; i < bodyBytes; i++) {
      state ^= state << 13;
      state ^= state >>> 7;
      state ^= state << 17;
      template[i] = (byte) state;
    }
    for (long put = 0; put < events; put += putBatch) {
      while (!putOne(producer, template)) {
        Thread.yield();
      }
      next[producer] += putBatch;
    }
  }

  private boolean putOne(int producer, byte[] template) {
    Transaction transaction = channel.getTransaction();
    transaction.begin();
    try {
      for (int i = 0; i < putBatch; i++) {
        byte[] body = template.clone();
        stamp(body, (long) producer << 56 | next[producer] + i);
        channel.put(EventBuilder.withBody(body, Collections.emptyMap()));
      }
      transaction.commit();
      return true;
    } catch (ChannelException full) {
      transaction.rollback();
      return false;
    } finally {
      transaction.close();
    }
  }

  private void take(long events) {
    for (long taken = 0; taken < events; ) {
      Transaction transaction = channel.getTransaction();
      transaction.begin();
      int most = (int) Math.min(takeBatch, events - taken);
      int got = 0;
      while (got < most) {
        Event event = channel.take();
        if (event == null) {
          break;
        }
        check(event.getBody());
        got++;
      }
      transaction.commit();
      transaction.close();
      taken += got;
    }
  }

  private void check(byte[] body) {
    long stamp = 0;
    for (int i = 0; i < 8; i++) {
      stamp = stamp << 8 | body[i] & 0xff;
    }
    int producer = (int) (stamp >>> 56);
    if (body.length != bodyBytes || (stamp & (1L << 56) - 1) != expected[producer]++) {
      throw new IllegalStateException("producer " + producer + ": event " + (expected[producer] - 1) + " expected");
    }
  }

  private static void stamp(byte[] body, long stamp) {
    for (int i = 0; i < 8; i++) {
      body[i] = (byte) (stamp >>> (56 - 8 * i));
    }
  }
}
