package org.pgleak.client;

import java.io.PrintWriter;
import java.sql.Connection;
import java.sql.ConnectionBuilder;
import java.sql.SQLException;
import java.sql.SQLFeatureNotSupportedException;
import java.sql.ShardingKeyBuilder;
import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.logging.Logger;
import javax.sql.DataSource;
import org.postgresql.PGConnection;

/**
 * Wraps HikariCP's data source, or any other: statements name the line of the application that sent them, and each connection
 * that is taken remembers where.
 *
 * <pre>DataSource shop = PgleakDataSource.wrap(new HikariDataSource(config));</pre>
 *
 * <p>A connection is a proxy for the pool's, with all of its interfaces; {@code unwrap()} leads to the pool's and the driver's
 * own. Safe for use by many threads, like the data source in it.
 */
public final class PgleakDataSource implements DataSource {
  private static final int kFirstSweep = 64; // connections

  private final DataSource pool;
  private volatile CallSites sites = new CallSites();
  private volatile boolean tagsPreparedStatements;
  private final Map<Connection, Checkout> taken = new IdentityHashMap<>(); // guarded by itself
  private int sweepAt = kFirstSweep;

  private PgleakDataSource(DataSource pool) {
    this.pool = pool;
  }

  public static PgleakDataSource wrap(DataSource pool) {
    return pool instanceof PgleakDataSource ? (PgleakDataSource) pool : new PgleakDataSource(pool);
  }

  /** The prefixes of the application's packages, such as "com.shop."; by default, all that are no known libraries. */
  public PgleakDataSource applicationPackages(String... prefixes) {
    sites = new CallSites(prefixes);
    return this;
  }

  /**
   * Whether prepared statements have the tags of the request beside the line. Off by default: pgjdbc keeps prepared statements
   * by their text, and each request's text would be another one. Useful where there are few routes, and no traceparent.
   */
  public PgleakDataSource tagPreparedStatements(boolean enabled) {
    tagsPreparedStatements = enabled;
    return this;
  }

  /** The connections that were taken and not closed. */
  public List<Checkout> checkouts() {
    List<Checkout> result;
    synchronized (taken) {
      result = new ArrayList<>(taken.values());
    }
    result.removeIf(checkout -> isClosed(checkout.connection()));
    return result;
  }

  /** Forgets those that were closed without the wrapper, such as through PreparedStatement.getConnection(). */
  private void sweep() {
    taken.keySet().removeIf(PgleakDataSource::isClosed);
    sweepAt = Math.max(kFirstSweep, 2 * taken.size());
  }

  private static boolean isClosed(Connection connection) {
    try {
      return connection.isClosed();
    } catch (SQLException error) {
      return true;
    }
  }

  @Override
  public Connection getConnection() throws SQLException {
    return take(pool.getConnection());
  }

  @Override
  public Connection getConnection(String user, String password) throws SQLException {
    return take(pool.getConnection(user, password));
  }

  private Connection take(Connection connection) {
    try {
      int pid = connection.isWrapperFor(PGConnection.class) ? connection.unwrap(PGConnection.class).getBackendPID() : 0;
      Connection proxy = TaggedConnection.wrap(connection, this);
      Checkout checkout = new Checkout(connection, pid, new Throwable("checkout"), sites);
      synchronized (taken) {
        if (taken.size() >= sweepAt) sweep();
        taken.put(connection, checkout);
      }
      return proxy;
    } catch (SQLException | RuntimeException | LinkageError error) {
      Failures.report("a checkout", error);
      return connection;
    }
  }

  void give(Connection connection) {
    synchronized (taken) {
      taken.remove(connection);
    }
  }

  /** A text that is sent once: with its line and the tags of the request. */
  String tag(String sql) {
    try {
      return SqlComment.append(sql, SqlComment.join(sites.codePair(), RequestTags.currentPairs()));
    } catch (RuntimeException | LinkageError error) {
      Failures.report("the comment of a statement", error);
      return sql;
    }
  }

  /** A text that is prepared, and the same whenever the same line prepares it. */
  String tagPrepared(String sql) {
    if (tagsPreparedStatements) return tag(sql);
    try {
      return SqlComment.append(sql, sites.codePair());
    } catch (RuntimeException | LinkageError error) {
      Failures.report("the comment of a statement", error);
      return sql;
    }
  }

  @Override
  public <T> T unwrap(Class<T> type) throws SQLException {
    if (type.isInstance(this)) return type.cast(this);
    return type.isInstance(pool) ? type.cast(pool) : pool.unwrap(type);
  }

  @Override
  public boolean isWrapperFor(Class<?> type) throws SQLException {
    return type.isInstance(this) || type.isInstance(pool) || pool.isWrapperFor(type);
  }

  @Override
  public ConnectionBuilder createConnectionBuilder() throws SQLException {
    return pool.createConnectionBuilder();
  }

  @Override
  public ShardingKeyBuilder createShardingKeyBuilder() throws SQLException {
    return pool.createShardingKeyBuilder();
  }

  @Override
  public PrintWriter getLogWriter() throws SQLException {
    return pool.getLogWriter();
  }

  @Override
  public void setLogWriter(PrintWriter writer) throws SQLException {
    pool.setLogWriter(writer);
  }

  @Override
  public int getLoginTimeout() throws SQLException {
    return pool.getLoginTimeout();
  }

  @Override
  public void setLoginTimeout(int seconds) throws SQLException {
    pool.setLoginTimeout(seconds);
  }

  @Override
  public Logger getParentLogger() throws SQLFeatureNotSupportedException {
    return pool.getParentLogger();
  }
}
