// A shop with the bugs that leak connections most often, over HikariCP, with the companion.
// Called by: Companion. The marks tell it the lines.
// Must never: know what is checked.
package shop;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.concurrent.CountDownLatch;
import javax.sql.DataSource;

final class Shop {
  private final DataSource pool;
  private Connection session;

  Shop(DataSource pool) {
    this.pool = pool;
  }

  String forgotten() throws SQLException {
    Connection connection = pool.getConnection(); // taken: forgotten
    connection.setAutoCommit(false);
    connection.createStatement().executeUpdate("UPDATE stock SET quantity = quantity - 1 WHERE product = 1"); // code: forgotten
    return "sold";
  }

  String background() throws SQLException {
    Connection connection = pool.getConnection(); // taken: background
    connection.setAutoCommit(false);
    Thread thread = new Thread(() -> print(connection), "printer");
    thread.setDaemon(true);
    thread.start();
    return "accepted";
  }

  private void print(Connection connection) {
    try (PreparedStatement query = connection.prepareStatement("SELECT sum(quantity) FROM stock")) { // code: background
      query.executeQuery();
      new CountDownLatch(1).await(); // a printer that is switched off
      connection.close();
    } catch (SQLException | InterruptedException error) {
      throw new IllegalStateException(error);
    }
  }

  synchronized String global() throws SQLException {
    if (session == null) {
      session = pool.getConnection(); // taken: global
      session.setAutoCommit(false);
    }
    return quantityOf(session, 2);
  }

  private static String quantityOf(Connection connection, int product) throws SQLException {
    try (PreparedStatement query = connection.prepareStatement("SELECT quantity FROM stock WHERE product = ?")) { // code: global
      query.setInt(1, product);
      ResultSet rows = query.executeQuery();
      rows.next();
      return rows.getString(1);
    }
  }

  String errorPath() throws SQLException {
    Connection connection = pool.getConnection(); // taken: error
    connection.setAutoCommit(false);
    PreparedStatement query = connection.prepareStatement("SELECT quantity FROM stock WHERE product = ? FOR UPDATE"); // code: error
    query.setInt(1, 3);
    ResultSet rows = query.executeQuery();
    rows.next();
    if (rows.getInt(1) > 0) throw new IllegalStateException("the payment is refused"); // no finally
    connection.commit();
    connection.close();
    return "paid";
  }

  String healthy() throws SQLException {
    try (Connection connection = pool.getConnection()) {
      return quantityOf(connection, 5);
    }
  }
}
