// An application with HikariCP and pgjdbc that does what it is told on its standard input, and answers.
// Called by: the scenario hikari, as a single source file, with APPLICATION, PGHOST, PGPORT and PGUSER.
// Must never: know anything of pgleak. The application is the patient.

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLTransientConnectionException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicInteger;

public class HikariPool {
  static final HikariDataSource pool = new HikariDataSource(configuration());
  static final List<Connection> leaked = new ArrayList<>();
  static final AtomicInteger requests = new AtomicInteger();
  static final AtomicInteger failures = new AtomicInteger();

  static HikariConfig configuration() {
    HikariConfig config = new HikariConfig();
    config.setJdbcUrl("jdbc:postgresql://127.0.0.1:" + System.getenv("PGPORT") + "/postgres?ApplicationName="
        + System.getenv("APPLICATION"));
    config.setUsername(System.getenv("PGUSER"));
    config.setPassword(System.getenv("PASSWORD"));
    config.setMaximumPoolSize(Integer.parseInt(System.getenv("POOL_SIZE")));
    config.setMinimumIdle(2);
    config.setLeakDetectionThreshold(2000);
    if (System.getenv("INIT_SQL") != null) {
      // As frameworks set it. HikariCP commits after its own statement only with isolateInternalQueries.
      config.setAutoCommit(false);
      config.setMinimumIdle(config.getMaximumPoolSize());
      config.setConnectionInitSql(System.getenv("INIT_SQL"));
    }
    return config;
  }

  // A method that returns early, before close(): no try-with-resources. Autocommit is off, as frameworks set it.
  static void leak() throws SQLException {
    Connection connection = pool.getConnection();
    leaked.add(connection);
    connection.setAutoCommit(false);
    run(connection, "/*controller='cart',action='show'*/ SELECT quantity FROM stock");
  }

  static boolean isRefused() throws SQLException {
    pool.setConnectionTimeout(500);
    try (Connection connection = pool.getConnection()) {
      return false;
    } catch (SQLTransientConnectionException error) {
      return error.getMessage().contains("request timed out");
    } finally {
      pool.setConnectionTimeout(30_000);
    }
  }

  // close() rolls back first. That it cannot is an error, but the connection is given back all the same.
  static void cure() {
    for (Connection connection : leaked) {
      try {
        connection.close();
      } catch (SQLException error) {
        System.err.println(error);
      }
    }
  }

  static boolean works() throws SQLException {
    try (Connection connection = pool.getConnection()) {
      return run(connection, "SELECT 1") == 1;
    }
  }

  // For the scenario's sake in seconds what is minutes elsewhere: HikariCP checks the least values only at its start.
  static void hurry() {
    pool.setMaxLifetime(7000);
    pool.setIdleTimeout(3800);
  }

  // One request at a time, and for the last part of every six seconds many at once.
  static void load() {
    long began = System.nanoTime();
    for (int i = 0; i < 8; i++) {
      int number = i;
      Thread thread = new Thread(() -> {
        while (true) {
          boolean isBurst = (System.nanoTime() - began) / 1_000_000 % 6000 > 4500;
          try {
            Thread.sleep(10);
            if (number == 0 || isBurst) request();
          } catch (InterruptedException | SQLException error) {
            System.err.println(error);
            failures.incrementAndGet();
          }
        }
      });
      thread.setDaemon(true);
      thread.start();
    }
  }

  static void request() throws SQLException {
    try (Connection connection = pool.getConnection()) {
      run(connection, "SELECT 1 FROM pg_sleep(0.05)");
      requests.incrementAndGet();
    }
  }

  // Requests that hold a connection and ask for a second one, all at the same time.
  static void nest() {
    CyclicBarrier together = new CyclicBarrier(pool.getMaximumPoolSize());
    inThreads(pool.getMaximumPoolSize(), () -> {
      try (Connection outer = pool.getConnection(); Statement statement = outer.createStatement()) {
        statement.execute("BEGIN");
        together.await();
        try (Connection inner = pool.getConnection()) {
          run(inner, "SELECT 1");
        } finally {
          statement.execute("ROLLBACK");
        }
      }
      return null;
    });
  }

  // Requests that read one row, again and again.
  static void read() {
    inThreads(pool.getMaximumPoolSize(), () -> {
      while (true) {
        try (Connection connection = pool.getConnection()) {
          run(connection, "SELECT quantity FROM stock WHERE product = 1");
        }
        Thread.sleep(50);
      }
    });
  }

  static void inThreads(int count, Callable<Void> work) {
    for (int i = 0; i < count; i++) {
      Thread thread = new Thread(() -> {
        try {
          work.call();
        } catch (Exception error) {
          System.err.println(error);
          failures.incrementAndGet();
        }
      });
      thread.setDaemon(true);
      thread.start();
    }
  }

  static int run(Connection connection, String query) throws SQLException {
    try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(query)) {
      rows.next();
      return rows.getInt(1);
    }
  }

  static Object obey(String order) throws SQLException {
    switch (order) {
      case "leak": leak(); return null;
      case "is_refused": return isRefused();
      case "in_use": return pool.getHikariPoolMXBean().getActiveConnections();
      case "cure": cure(); return null;
      case "works": return works();
      case "hurry": hurry(); return null;
      case "load": load(); return null;
      case "nest": nest(); return null;
      case "read": read(); return null;
      case "requests": return requests.get();
      case "failures": return failures.get();
      default: throw new IllegalArgumentException(order);
    }
  }

  public static void main(String[] arguments) throws Exception {
    BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
    for (String line = input.readLine(); line != null; line = input.readLine())
      System.out.println(obey(line.replaceAll("[^a-z_]", "")));
  }
}
