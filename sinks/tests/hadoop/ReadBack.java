import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import io.airlift.compress.zstd.ZstdInputStream;
import org.apache.avro.file.DataFileStream;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.io.BytesWritable;
import org.apache.hadoop.io.LongWritable;
import org.apache.hadoop.io.SequenceFile;
import org.apache.hadoop.io.Text;
import org.apache.hadoop.io.Writable;
import org.apache.hadoop.io.compress.CompressionCodec;
import org.apache.hadoop.io.compress.CompressionCodecFactory;

/**
 * Reads files with Hadoop's own readers and says what differs from what was sent. For each file F of the directory there is F.sent:
 *
 *   records   time, 8 bytes | length, 4 bytes | body | ...     F.seq, a SequenceFile; F.avro..., a container of events
 *   bytes     what unpacked F is                               any other F
 *
 * For each it prints a line "F: ok", or "F: " and what is wrong.
 */
public class ReadBack {
  private static final Configuration CONF = new Configuration(false);

  public static void main(String[] arguments) throws IOException {
    try (var files = Files.newDirectoryStream(Paths.get(arguments[0]), "*.sent")) {
      for (Path sent : files) {
        String name = sent.getFileName().toString().replaceAll("\\.sent$", "");
        String said;
        try {
          said = read(sent.resolveSibling(name), name, Files.readAllBytes(sent));
        } catch (Exception | AssertionError wrong) {
          said = wrong.toString();
        }
        System.out.println(name + ": " + said);
      }
    }
  }

  private static String read(Path file, String name, byte[] sent) throws IOException {
    if (name.endsWith(".seq")) {
      String all = records(file, ByteBuffer.wrap(sent), 0);
      return all.equals("ok") ? records(file, ByteBuffer.wrap(sent), Files.size(file) / 2) : all;
    }
    if (name.contains(".avro")) {
      return events(unpacked(file, name), ByteBuffer.wrap(sent));
    }
    byte[] bytes = unpacked(file, name).readAllBytes();
    return Arrays.equals(bytes, sent) ? "ok" : bytes.length + " bytes came of " + sent.length + ", or others";
  }

  private static InputStream unpacked(Path file, String name) throws IOException {
    InputStream bytes = Files.newInputStream(file);
    if (name.endsWith(".zst")) {
      return new ZstdInputStream(bytes);
    }
    CompressionCodec codec =
        new CompressionCodecFactory(CONF).getCodec(new org.apache.hadoop.fs.Path(file.toString()));
    return codec == null ? bytes : codec.createInputStream(bytes);
  }

  /** All records, or those behind the first mark behind a place in the middle, which have to be the last ones sent. */
  private static String records(Path file, ByteBuffer sent, long from) throws IOException {
    var path = SequenceFile.Reader.file(new org.apache.hadoop.fs.Path(file.toUri()));
    var came = new ByteArrayOutputStream();
    try (var reader = new SequenceFile.Reader(CONF, path)) {
      if (from > 0) {
        reader.sync(from);
      }
      var key = new LongWritable();
      Writable value = reader.getValueClass() == Text.class ? new Text() : new BytesWritable();
      while (reader.next(key, value)) {
        byte[] body = value instanceof Text ? ((Text) value).copyBytes() : ((BytesWritable) value).copyBytes();
        came.write(ByteBuffer.allocate(12).putLong(key.get()).putInt(body.length).array());
        came.write(body);
      }
    }
    byte[] bytes = came.toByteArray();
    if (from == 0 && bytes.length != sent.limit()) {
      return bytes.length + " bytes of records came of " + sent.limit();
    }
    boolean isEnd = bytes.length <= sent.limit()
        && ByteBuffer.wrap(bytes).equals(sent.slice(sent.limit() - bytes.length, bytes.length));
    return isEnd ? "ok" : "other records behind " + from;
  }

  private static String events(InputStream bytes, ByteBuffer sent) throws IOException {
    try (var reader = new DataFileStream<GenericRecord>(bytes, new GenericDatumReader<>())) {
      for (GenericRecord event : reader) {
        Map<String, String> headers = new TreeMap<>();
        ((Map<?, ?>) event.get("headers")).forEach((key, value) -> headers.put(key.toString(), value.toString()));
        String time = Long.toString(sent.getLong());
        byte[] body = new byte[sent.getInt()];
        sent.get(body);
        if (!headers.equals(Map.of("timestamp", time, "k\u00e9y", "v")) || !event.get("body").equals(ByteBuffer.wrap(body))) {
          return "another event: " + headers;
        }
      }
    }
    return sent.hasRemaining() ? "events are missing" : "ok";
  }
}
