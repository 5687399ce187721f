// What the companion for JDBC costs: a statement and a checkout with a pool that does nothing, with and without it.
// Called by: companion_rows.py, as a single source file. Prints a line of JSON: measure -> microseconds, one for each round.
// Must never: talk to a server. Its round trip would hide what is measured.

import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.lang.reflect.Proxy;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import javax.sql.DataSource;
import org.pgleak.client.PgleakDataSource;
import org.pgleak.client.RequestTags;

public class CompanionJava {
  static final ThreadMXBean threads = ManagementFactory.getThreadMXBean();
  static final int kRounds = 21;
  static final int kDepth = 20; // frames of an application between its server and its query

  interface Work {
    void run() throws SQLException;
  }

  interface Maker {
    Work make(DataSource source) throws SQLException;
  }

  /** An object of an interface that does nothing; its connections and statements are such objects as well. */
  static <T> T idle(Class<T> type, Object result) {
    return type.cast(Proxy.newProxyInstance(CompanionJava.class.getClassLoader(), new Class<?>[] {type}, (self, method, values) -> {
      if (method.getReturnType() == boolean.class) return false;
      if (method.getReturnType() == int.class) return 0;
      return method.getReturnType().isInstance(result) ? result : null;
    }));
  }

  static void deep(int frames, Work work, int times) throws SQLException {
    if (frames > 0) deep(frames - 1, work, times);
    else for (int i = 0; i < times; i++) work.run();
  }

  /** Of processor time, so that a busy machine disturbs less. */
  static double microseconds(Work work, int times) throws SQLException {
    long began = threads.getCurrentThreadCpuTime();
    deep(kDepth, work, times);
    return (threads.getCurrentThreadCpuTime() - began) / 1000.0 / times;
  }

  /** The differences, round by round, of the same work with and without the companion. */
  static String measure(String name, Maker maker) throws SQLException {
    DataSource plain = idle(DataSource.class, idle(Connection.class, idle(Statement.class, null)));
    Work theirs = maker.make(plain);
    Work ours = maker.make(PgleakDataSource.wrap(plain));
    List<String> differences = new ArrayList<>();
    for (int round = -9; round < kRounds; round++) {
      double difference = microseconds(ours, 10_000) - microseconds(theirs, 10_000);
      if (round >= 0) differences.add(String.format(Locale.ROOT, "%.4f", difference));
    }
    return "\"" + name + "\": " + differences;
  }

  public static void main(String[] arguments) throws SQLException {
    try (RequestTags.Scope scope = RequestTags.with("route", "/orders/{id}")) {
      System.out.println("{" + String.join(", ",
          measure("a statement", source -> {
            Statement statement = source.getConnection().createStatement();
            return () -> statement.execute("SELECT quantity FROM stock WHERE product = 1");
          }),
          measure("a prepared statement", source -> {
            Connection connection = source.getConnection();
            return () -> connection.prepareStatement("SELECT quantity FROM stock WHERE product = ?");
          }),
          measure("a checkout", source -> () -> source.getConnection().close())) + "}");
    }
  }
}
