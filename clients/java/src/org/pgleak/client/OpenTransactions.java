package org.pgleak.client;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Types;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/**
 * Asks the server, through {@code pgleak.open_transactions()}, for transactions that a test has left open. Each is reported once:
 * for the test that left it open, not for those that follow. For any test framework; {@code junit.NoOpenTransactions} is for JUnit 5.
 */
public final class OpenTransactions {
  private static final String kQuery = "SELECT pid, application_name, state, xact_start, query, code, route,"
      + " (SELECT string_agg('    ' || (entry->>'query'), E'\\n') FROM jsonb_array_elements(trail) entry) AS trail"
      + " FROM pgleak.open_transactions(?)";
  private static final int kPause = 20; // milliseconds

  private final LeakWatch.Connector connector;
  private final String applicationName;
  private final PgleakDataSource source;
  private final Set<String> known = new HashSet<>();

  /**
   * @param connector opens a connection to the database that contains pgleak, as a role that may see the tested sessions
   * @param applicationName of the sessions under test; null for all
   * @param source of the code under test, for the stack of the checkout; or null
   */
  public OpenTransactions(LeakWatch.Connector connector, String applicationName, PgleakDataSource source) {
    this.connector = connector;
    this.applicationName = applicationName;
    this.source = source;
  }

  /** What is open that was not reported before, for people; "" if nothing is still open after `patience` milliseconds. */
  public String describeNew(long patience) throws SQLException {
    long deadline = System.nanoTime() + patience * 1_000_000;
    try (Connection connection = connector.connect(); PreparedStatement query = connection.prepareStatement(kQuery)) {
      if (applicationName == null) query.setNull(1, Types.VARCHAR);
      else query.setString(1, applicationName);
      while (true) {
        Map<String, String> open = read(query);
        open.keySet().removeAll(known);
        if (open.isEmpty()) return "";
        if (System.nanoTime() >= deadline) {
          known.addAll(open.keySet());
          return (open.size() == 1 ? "a transaction is" : open.size() + " transactions are")
              + " open on the server after the test\n" + String.join("\n", open.values());
        }
        Thread.sleep(kPause);
      }
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
      return "";
    }
  }

  private Map<String, String> read(PreparedStatement query) throws SQLException {
    Map<String, String> result = new LinkedHashMap<>();
    try (ResultSet row = query.executeQuery()) {
      while (row.next()) result.put(row.getInt("pid") + " " + row.getString("xact_start"), describe(row));
    }
    return result;
  }

  private String describe(ResultSet row) throws SQLException {
    String code = row.getString("code");
    String route = row.getString("route");
    String trail = row.getString("trail");
    int pid = row.getInt("pid");
    StringBuilder text = new StringBuilder("  ").append(code == null ? "(no code)" : code);
    if (route != null) text.append(", route ").append(route);
    text.append(": ").append(row.getString("state")).append(", pid ").append(pid).append(" of ").append(row.getString("application_name"));
    text.append('\n').append(trail == null || trail.isEmpty() ? "    " + row.getString("query") : trail);
    if (source != null)
      for (Checkout checkout : source.checkouts())
        if (checkout.pid() == pid) text.append("\n  the connection was ").append(checkout);
    return text.toString();
  }
}
