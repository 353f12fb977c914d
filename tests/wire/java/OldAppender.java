import org.apache.flume.clients.log4jappender.Log4jAppender;
import org.apache.log4j.Logger;
import org.apache.log4j.PatternLayout;

/**
 * An application that logs with log4j 1 and Flume's own appender for it.
 *
 * <pre>
 *   java OldAppender.java PORT
 * </pre>
 */
public final class OldAppender {
  public static void main(String[] words) {
    Log4jAppender appender = new Log4jAppender();
    appender.setHostname("127.0.0.1");
    appender.setPort(Integer.parseInt(words[0]));
    appender.setTimeout(300_000);
    appender.setLayout(new PatternLayout("%m"));
    appender.activateOptions();
    Logger logger = Logger.getLogger("old");
    logger.setAdditivity(false);
    logger.addAppender(appender);
    for (int i = 0; i < 25; i++) {
      logger.info("old " + i + " \u6f22");
    }
    appender.close();
    System.out.println("all logged");
    System.exit(0);
  }
}
