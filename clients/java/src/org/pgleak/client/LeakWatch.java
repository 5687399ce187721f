package org.pgleak.client;

import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Map;
import java.util.function.Consumer;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

/**
 * Listens on NOTIFY pgleak in a daemon thread. When pgleak reports a leak of one of the pool's own connections, the log gets the
 * stack of its checkout: the server knows the statement, only the application knows who took the connection.
 *
 * <pre>LeakWatch.start(shop, () -> DriverManager.getConnection(url, user, password));</pre>
 */
public final class LeakWatch implements AutoCloseable {
  /** Opens a connection of its own to the database that contains pgleak, outside of the pool. */
  public interface Connector {
    Connection connect() throws SQLException;
  }

  private static final System.Logger logger = System.getLogger("org.pgleak.client");
  private static final int kFirstPause = 1000; // milliseconds
  private static final int kLongestPause = 30_000;
  private static final int kPatience = 10_000; // for a notification; then it looks whether it shall end

  private final PgleakDataSource source;
  private final Connector connector;
  private final Thread thread = new Thread(this::run, "pgleak-watch");
  private volatile boolean returnsTerminated;
  private volatile Consumer<String> log = message -> logger.log(System.Logger.Level.WARNING, message);
  private volatile boolean isClosed;
  private volatile Connection connection;
  private int pause = kFirstPause; // of the thread

  private LeakWatch(PgleakDataSource source, Connector connector) {
    this.source = source;
    this.connector = connector;
  }

  public static LeakWatch start(PgleakDataSource source, Connector connector) {
    LeakWatch watch = new LeakWatch(source, connector);
    watch.thread.setDaemon(true);
    watch.thread.start();
    return watch;
  }

  /**
   * After a terminate, close the connection for the application, so that the pool discards it and has its place back. Code
   * that still uses it gets an SQLException, as without this. Off by default.
   */
  public LeakWatch returnTerminated(boolean enabled) {
    returnsTerminated = enabled;
    return this;
  }

  /** Gets each line for people; by default, the logger org.pgleak.client. */
  public LeakWatch log(Consumer<String> newLog) {
    log = newLog;
    return this;
  }

  @Override
  public void close() {
    isClosed = true;
    thread.interrupt();
    Connection open = connection;
    if (open == null) return;
    try {
      open.close();
    } catch (SQLException error) {
      Failures.report("the end of the watch", error);
    }
  }

  private void run() {
    while (!isClosed) {
      try (Connection open = connector.connect()) {
        connection = open;
        listen(open);
      } catch (SQLException | RuntimeException | LinkageError error) {
        if (isClosed) return;
        Failures.report("the watch", error);
        pause = Math.min(2 * pause, kLongestPause);
      }
      try {
        Thread.sleep(pause);
      } catch (InterruptedException error) {
        return;
      }
    }
  }

  private void listen(Connection open) throws SQLException {
    int recorder = 0;
    open.setAutoCommit(true);
    try (Statement statement = open.createStatement()) {
      // Any role can send a notification. A genuine one comes from the recorder, if this role may see which process that is.
      try (ResultSet rows = statement.executeQuery("SELECT pid FROM pg_stat_activity WHERE backend_type = 'pgleak recorder'")) {
        if (rows.next()) recorder = rows.getInt(1);
      }
      statement.execute("LISTEN pgleak");
    }
    pause = kFirstPause;
    PGConnection notified = open.unwrap(PGConnection.class);
    while (!isClosed) {
      PGNotification[] notifications = notified.getNotifications(kPatience);
      if (notifications == null) continue;
      for (PGNotification each : notifications)
        if (recorder == 0 || each.getPID() == recorder) onNotification(open, each.getParameter());
    }
  }

  private void onNotification(Connection open, String payload) throws SQLException {
    try {
      Map<String, String> event = Json.members(payload);
      if (event.get("pid") == null) return;
      int pid = Integer.parseInt(event.get("pid"));
      for (Checkout checkout : source.checkouts()) if (checkout.pid() == pid) onLeak(open, event, checkout);
    } catch (RuntimeException error) {
      Failures.report("a notification", error);
    }
  }

  private void onLeak(Connection open, Map<String, String> event, Checkout checkout) throws SQLException {
    log.accept("pgleak: leak " + event.get("leak_id") + ", connection " + checkout.pid() + " of " + event.get("application_name")
        + ": " + wordsOf(event) + "; " + checkout);
    // The notification may be forged; a session that does not exist is none.
    if (returnsTerminated && "terminated".equals(event.get("outcome")) && !exists(open, checkout.pid())) giveBack(checkout);
  }

  private static boolean exists(Connection open, int pid) throws SQLException {
    try (Statement statement = open.createStatement();
        ResultSet row = statement.executeQuery("SELECT 1 FROM pg_stat_activity WHERE pid = " + pid)) {
      return row.next();
    }
  }

  private void giveBack(Checkout checkout) {
    source.give(checkout.connection());
    try {
      checkout.connection().close();
    } catch (SQLException expected) {
      // It cannot roll back a connection that is gone, and the pool has its place back all the same.
    }
  }

  private static String wordsOf(Map<String, String> event) {
    switch (String.valueOf(event.get("event"))) {
      case "opened":
        return "past its limit of " + event.get("leak_after") + " s on the " + event.get("clock") + " clock"
            + (event.get("code") == null ? "" : ", at " + event.get("code"));
      case "blocking": return "blocks " + event.get("blocked") + " others";
      case "acted": return event.get("action") + ": " + event.get("result");
      case "ended": return "ended, " + event.get("outcome");
      default: return String.valueOf(event.get("event"));
    }
  }
}
