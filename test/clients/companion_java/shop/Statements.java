// Each kind of statement that JDBC has, through the companion: what the server gets, and what the caller gets.
// Called by: Companion.
// Must never: share a pool between what could disturb each other.
package shop;

import static shop.Checks.ask;
import static shop.Checks.check;
import static shop.Checks.errorOf;

import com.zaxxer.hikari.HikariDataSource;
import java.io.StringReader;
import java.lang.reflect.Field;
import java.lang.reflect.Proxy;
import java.sql.BatchUpdateException;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.util.AbstractMap;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import javax.sql.DataSource;
import org.pgleak.client.PgleakDataSource;
import org.pgleak.client.RequestTags;
import org.postgresql.PGConnection;
import org.postgresql.ds.PGSimpleDataSource;

final class Statements {
  private static final String own = "shop%2FStatements.java";

  private Statements() {}

  static boolean hasCode(String text, String method) {
    return text != null && text.matches("(?s).*/\\*code='" + own + "%3A\\d+%20" + method + "'[^*]*\\*/;? *$");
  }

  static String first(ResultSet rows) throws SQLException {
    rows.next();
    return rows.getString(1);
  }

  static String prepared(Connection connection, String sql) throws SQLException {
    try (PreparedStatement statement = connection.prepareStatement(sql)) {
      if (statement.getParameterMetaData().getParameterCount() > 0) statement.setInt(1, 1);
      return first(statement.executeQuery());
    }
  }

  static void testTexts(Connection connection) throws SQLException {
    Statement statement = connection.createStatement();
    for (String sql : List.of("SELECT current_query()", "SELECT current_query();", "SELECT current_query() ; ;\n",
        "SELECT current_query() -- a comment", "SELECT current_query() /*traceparent='00-1-2-03'*/", "SELECT current_query() || '--'",
        "SELECT {fn concat(current_query(), '')}")) {
      String text = first(statement.executeQuery(sql));
      check(text.contains("code='" + own), "a statement: " + sql.trim(), text);
      text = prepared(connection, sql);
      check(text.contains("code='" + own), "prepared: " + sql.trim(), text);
    }
    String text = prepared(connection, "SELECT current_query() WHERE ? = 1");
    check(hasCode(text, "prepared"), "a parameter", text);
    text = prepared(connection, "SELECT current_query() WHERE ? = 1 AND '{}'::jsonb ?? 'x' IS FALSE");
    check(hasCode(text, "prepared"), "an operator with a question mark", text);
    check(statement.execute("SELECT 1; SELECT 2") && statement.getMoreResults() && "2".equals(first(statement.getResultSet()))
        && !statement.getMoreResults() && statement.getUpdateCount() == -1, "two statements in one have two results", "");
    check(statement.execute("SELECT 1;") && !statement.getMoreResults() && statement.getUpdateCount() == -1,
        "a semicolon at the end makes no second result", "");
  }

  static void testCalls(Connection connection) throws SQLException {
    try (CallableStatement call = connection.prepareCall("{? = call twice(?)}")) {
      call.registerOutParameter(1, Types.INTEGER);
      call.setInt(2, 21);
      call.execute();
      check(call.getInt(1) == 42, "{? = call f(?)}", call.getInt(1));
    }
    try (CallableStatement call = connection.prepareCall(" { call said() } ")) {
      String text = first(call.executeQuery());
      check(text.contains("code='" + own), "{ call f() } has its line", text);
    }
    try (CallableStatement call = connection.prepareCall("CALL nothing(?)")) {
      call.setInt(1, 1);
      call.execute();
      check(true, "CALL", "");
    }
  }

  static void testKeys(Connection connection) throws SQLException {
    for (String end : List.of("", ";", " -- the end", ";;")) {
      try (PreparedStatement insert = connection.prepareStatement("INSERT INTO orders (note) VALUES (?)" + end, Statement.RETURN_GENERATED_KEYS)) {
        insert.setString(1, "a note; -- with ' all");
        int count = insert.executeUpdate();
        check(count == 1 && first(insert.getGeneratedKeys()) != null, "generated keys, with \"" + end + "\" at the end", count);
      }
    }
    Statement statement = connection.createStatement();
    for (String value : List.of("'--'", "'it''s --'", "E'\\'--'", "$$ -- $$", "$a$ $$ -- $a$", "/* /* -- */ ' */ '--'", "'a' /* \" */ || '--'",
        "(SELECT '--' AS \"--\")", "-- a comment\n'--'")) {
      check(statement.executeUpdate("INSERT INTO orders (note) VALUES (" + value + ");", new String[] {"id", "note"}) == 1
          && first(statement.getGeneratedKeys()) != null, "generated columns of a value that looks like a comment: "
          + value.replace('\n', '_'), "");
    }
  }

  static void testBatches() throws SQLException {
    for (boolean rewrites : new boolean[] {false, true}) {
      try (HikariDataSource pool = Checks.pool("batches", 1, rewrites ? "&reWriteBatchedInserts=true" : "");
          Connection connection = PgleakDataSource.wrap(pool).getConnection()) {
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO orders (note) VALUES (?)")) {
          for (int i = 0; i < 8; i++) {
            insert.setString(1, "batch " + i);
            insert.addBatch();
          }
          int expected = rewrites ? Statement.SUCCESS_NO_INFO : 1;
          int[] counts = insert.executeBatch();
          check(counts.length == 8 && Arrays.stream(counts).allMatch(count -> count == expected),
              "a prepared batch" + (rewrites ? " is still rewritten into one statement" : ""), Arrays.toString(counts));
        }
        Statement statement = connection.createStatement();
        statement.addBatch("INSERT INTO orders (note) VALUES ('one');");
        statement.addBatch("INSERT INTO orders (note) VALUES ('two') -- two");
        check(Arrays.equals(statement.executeBatch(), new int[] {1, 1}), "a batch of texts", "");
        statement.addBatch("INSERT INTO orders (note) VALUES ('one')");
        statement.addBatch("INSERT INTO orders (note) VALUES (1/0)");
        check(errorOf(statement::executeBatch) instanceof BatchUpdateException, "its errors are the driver's", "");
      }
    }
  }

  /** pgjdbc keeps prepared statements by their text, in the server from the fifth use on. */
  static void testCache() throws SQLException {
    try (HikariDataSource pool = Checks.pool("cache", 1); Connection connection = PgleakDataSource.wrap(pool).getConnection()) {
      for (int i = 0; i < 20; i++) {
        try (RequestTags.Scope scope = RequestTags.with("route", "/orders/" + i)) {
          prepared(connection, "SELECT quantity FROM stock WHERE product = ?");
        }
      }
      String count = first(connection.createStatement().executeQuery(
          "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT quantity FROM stock%'"));
      check("1".equals(count), "requests of 20 routes share one prepared statement of the server", count);
    }
    try (HikariDataSource pool = Checks.pool("routes", 1);
        Connection connection = PgleakDataSource.wrap(pool).tagPreparedStatements(true).getConnection();
        RequestTags.Scope scope = RequestTags.with(Map.of("route", "/orders/{id}", "job", "x"))) {
      String text = prepared(connection, "SELECT current_query()");
      check(text.endsWith(",route='%2Forders%2F%7Bid%7D',job='x'*/"), "tagPreparedStatements() adds the tags of the request", text);
    }
  }

  static void testDriver(Connection connection) throws Exception {
    check(connection.isWrapperFor(PGConnection.class) && connection.unwrap(PGConnection.class).getBackendPID() > 0, "unwrap() to the driver", "");
    long rows = connection.unwrap(PGConnection.class).getCopyAPI().copyIn("COPY orders (note) FROM STDIN", new StringReader("a\nb\n"));
    check(rows == 2, "COPY through the driver's own connection", rows);
    Statement statement = connection.createStatement();
    check(statement.getConnection() == connection && connection.equals(connection) && connection.hashCode() == connection.hashCode()
        && statement.equals(statement) && !connection.equals(statement), "getConnection(), equals(), hashCode()", "");
    check(connection.getMetaData().getTables(null, "public", "stock", null).next(), "metadata", "");
    connection.setAutoCommit(false);
    connection.setSavepoint("one");
    PreparedStatement query = connection.prepareStatement("SELECT generate_series(1, 100)");
    query.setFetchSize(10);
    int sum = 0;
    for (ResultSet each = query.executeQuery(); each.next();) sum += each.getInt(1);
    check(sum == 5050, "a cursor of the driver", sum);
    connection.rollback();
    connection.setAutoCommit(true);
    for (String nothing : new String[] {"", " ; ", null}) {
      Connection plain = (Connection) connection.unwrap(PGConnection.class);
      check(String.valueOf(errorOf(() -> statement.execute(nothing))).equals(String.valueOf(errorOf(() -> plain.createStatement().execute(nothing)))),
          "execute(" + nothing + ") does what it does without the companion", errorOf(() -> statement.execute(nothing)));
    }
    Throwable error = errorOf(() -> connection.createStatement().execute("SELECT 1/0"));
    check(error instanceof SQLException && "22012".equals(((SQLException) error).getSQLState()), "errors are the driver's", error);
  }

  static int remembered(PgleakDataSource source) throws ReflectiveOperationException {
    Field taken = PgleakDataSource.class.getDeclaredField("taken");
    taken.setAccessible(true);
    return ((Map<?, ?>) taken.get(source)).size();
  }

  static void testPools() throws Exception {
    PGSimpleDataSource simple = new PGSimpleDataSource();
    simple.setUrl(Checks.url + "?user=shop&password=shop");
    PgleakDataSource source = PgleakDataSource.wrap(simple);
    Connection connection = source.getConnection();
    check(((PGConnection) connection).getBackendPID() > 0 && source.checkouts().get(0).pid() == ((PGConnection) connection).getBackendPID(),
        "without a pool, a cast to the driver's interface works", connection);
    check(source.checkouts().get(0).stack().get(0).getMethodName().equals("testPools"), "checkouts() knows the place", source.checkouts());
    connection.close();
    connection.close();
    check(source.checkouts().isEmpty() && connection.isClosed(), "closing twice is closing", source.checkouts());
    for (int i = 0; i < 100; i++) source.getConnection().prepareStatement("SELECT 1").getConnection().close();
    check(source.checkouts().isEmpty() && remembered(source) < 100, "what is closed behind its back is forgotten", remembered(source));
    check(source.unwrap(PGSimpleDataSource.class) == simple && PgleakDataSource.wrap(source) == source, "unwrap() of the data source", "");
    simple.setPortNumbers(new int[] {1});
    check(errorOf(source::getConnection) instanceof SQLException, "a connection that fails fails", "");
  }

  static void testHostile() throws Exception {
    List<String> values = List.of("/it's", "*/ SELECT 1; /*", "/a\nb\r\tc", "';--", "$1 ? :x %s {fn x}", "/\ud83d\ude00\u00e9", "\\", "/x".repeat(500));
    try (HikariDataSource pool = Checks.pool("hostile", values.size())) {
      PgleakDataSource source = PgleakDataSource.wrap(pool);
      List<Connection> open = new ArrayList<>();
      for (String value : values) {
        try (RequestTags.Scope scope = RequestTags.with(Map.of("route", value, "k'*/=,", value, "action", value))) {
          Connection connection = source.getConnection();
          connection.setAutoCommit(false);
          connection.createStatement().execute("SELECT 1");
          open.add(connection);
        }
      }
      for (int i = 0; i < values.size(); i++) {
        int pid = open.get(i).unwrap(PGConnection.class).getBackendPID();
        String expected = values.get(i).length() > 255 ? values.get(i).substring(0, 255) : values.get(i);
        check(Checks.waitUntil(() -> expected.equals(ask("SELECT tags->>'route' FROM pgleak.leaks WHERE pid = ?", pid))),
            "the server decodes " + expected.substring(0, Math.min(20, expected.length())).replaceAll("\\s", "_"),
            ask("SELECT tags FROM pgleak.leaks WHERE pid = ?", pid));
      }
      for (Connection connection : open) connection.close();
      try (RequestTags.Scope scope = RequestTags.with("route", "\ud800\0"); Connection connection = source.getConnection()) {
        check("1".equals(first(connection.createStatement().executeQuery("SELECT 1"))), "half of a surrogate pair breaks nothing", "");
      }
    }
  }

  static void testOwnFailures() throws Exception {
    Map<String, String> broken = new AbstractMap<>() {
      @Override
      public Set<Entry<String, String>> entrySet() {
        throw new IllegalStateException("no");
      }
    };
    try (HikariDataSource pool = Checks.pool("broken", 1)) {
      DataSource source = PgleakDataSource.wrap(pool);
      try (RequestTags.Scope scope = RequestTags.with(broken); Connection connection = source.getConnection()) {
        check("1".equals(first(connection.createStatement().executeQuery("SELECT 1"))), "tags that cannot be read break nothing", "");
      }
      DataSource odd = (DataSource) Proxy.newProxyInstance(Statements.class.getClassLoader(), new Class<?>[] {DataSource.class},
          (self, method, values) -> Proxy.newProxyInstance(Statements.class.getClassLoader(), new Class<?>[] {Connection.class},
              (connection, called, arguments) -> {
                if (called.getName().equals("isWrapperFor")) throw new AbstractMethodError("no");
                return called.getName().equals("getCatalog") ? "here" : null;
              }));
      check("here".equals(PgleakDataSource.wrap(odd).getConnection().getCatalog()), "a driver that is too old is left alone", "");
    }
  }

  static void test() throws Exception {
    try (Connection admin = Checks.admin(); Statement statement = admin.createStatement()) {
      statement.execute("CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE sql AS 'SELECT 2 * n';"
          + "CREATE FUNCTION said() RETURNS text LANGUAGE sql AS 'SELECT current_query()';"
          + "CREATE PROCEDURE nothing(n integer) LANGUAGE sql AS 'SELECT 1'");
    }
    try (HikariDataSource pool = Checks.pool("statements", 2); Connection connection = PgleakDataSource.wrap(pool).getConnection()) {
      testTexts(connection);
      testCalls(connection);
      testKeys(connection);
      testDriver(connection);
    }
    testBatches();
    testCache();
    testPools();
    testHostile();
    testOwnFailures();
  }
}
