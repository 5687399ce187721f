// What the tests of the companion for JDBC share: pools, the server seen from outside, and the results.
// Called by: Companion and Statements, with PGPORT of a throw-away cluster, which has the roles shop and postgres.
// Must never: wait for a fixed time and hope.
package shop;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.concurrent.Callable;

final class Checks {
  static final String url = "jdbc:postgresql://127.0.0.1:" + System.getenv("PGPORT") + "/postgres";
  static final int patience = 30; // seconds
  static int failed;

  interface Action {
    void run() throws Exception;
  }

  static void check(boolean holds, String what, Object detail) {
    System.out.println((holds ? "ok" : "not ok") + " - java: " + what);
    if (holds) return;
    failed++;
    System.out.println(("#   " + detail).replace("\n", "\n#   "));
  }

  static boolean waitUntil(Callable<Boolean> condition) throws Exception {
    for (long deadline = System.nanoTime() + patience * 1_000_000_000L; System.nanoTime() < deadline; Thread.sleep(20))
      if (condition.call()) return true;
    return false;
  }

  static Throwable errorOf(Action action) {
    try {
      action.run();
    } catch (Throwable error) {
      return error;
    }
    return null;
  }

  static Connection admin() throws SQLException {
    return DriverManager.getConnection(url + "?user=postgres&password=postgres&ApplicationName=checks");
  }

  /** The first column of the first row, as text; null without one. */
  static String ask(String query, Object... values) throws SQLException {
    try (Connection connection = admin(); PreparedStatement statement = connection.prepareStatement(query)) {
      for (int i = 0; i < values.length; i++) statement.setObject(i + 1, values[i]);
      try (ResultSet rows = statement.executeQuery()) {
        return rows.next() ? rows.getString(1) : null;
      }
    }
  }

  static HikariDataSource pool(String application, int size, String... parameters) {
    HikariConfig config = new HikariConfig();
    config.setJdbcUrl(url + "?ApplicationName=" + application + String.join("", parameters));
    config.setUsername("shop");
    config.setPassword("shop");
    config.setMaximumPoolSize(size);
    config.setMinimumIdle(0);
    config.setConnectionTimeout(2000);
    return new HikariDataSource(config);
  }

  private Checks() {}
}
