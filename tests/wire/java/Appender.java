import org.apache.logging.log4j.LogManager;
import org.apache.logging.log4j.Logger;
import org.apache.logging.log4j.ThreadContext;

/**
 * An application that logs with log4j 2, whose configuration sends it to Flume.
 *
 * <pre>
 *   java -Dlog4j2.configurationFile=… Appender.java
 *
 *   logger one   30 lines, each a call of its own
 *   logger ten   30 lines, ten in a call
 * </pre>
 *
 * log4j configures itself twice here, for Flume's client logs through it, and then lets what is left of a batch at the shutdown
 * lie: nothing is left.
 */
public final class Appender {
  public static void main(String[] words) {
    ThreadContext.put("user", "j\u00fcrgen");
    for (String name : new String[] {"one", "ten"}) {
      Logger logger = LogManager.getLogger(name);
      for (int i = 0; i < 30; i++) {
        logger.info("{} {} \u6f22", name, i);
      }
    }
    LogManager.shutdown();
    System.out.println("all logged");
    System.exit(0);
  }
}
