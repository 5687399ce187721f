// Three tests of a shop, the second of which leaves its transaction open. The extension has to fail that one, and no other.
// Called by: Companion, through JUnit's launcher.
// Must never: pass as a whole.
package shop;

import java.sql.Connection;
import java.sql.SQLException;
import org.junit.jupiter.api.MethodOrderer;
import org.junit.jupiter.api.Order;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestMethodOrder;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.pgleak.client.PgleakDataSource;
import org.pgleak.client.RequestTags;
import org.pgleak.client.junit.NoOpenTransactions;

@TestMethodOrder(MethodOrderer.OrderAnnotation.class)
class ShopTest {
  static final PgleakDataSource pool = PgleakDataSource.wrap(Checks.pool("shop-tested", 2));

  @RegisterExtension
  static final NoOpenTransactions check = new NoOpenTransactions(Checks::admin, "shop-tested", pool);

  private static Connection reserve() throws SQLException {
    Connection connection = pool.getConnection(); // taken: test
    connection.setAutoCommit(false);
    connection.prepareStatement("UPDATE stock SET quantity = quantity - 1 WHERE product = 4").executeUpdate(); // code: test
    return connection;
  }

  @Test
  @Order(1)
  void sellsAndCommits() throws SQLException {
    try (Connection connection = reserve()) {
      connection.commit();
    }
  }

  @Test
  @Order(2)
  void leavesATransactionOpen() throws SQLException {
    try (RequestTags.Scope scope = RequestTags.with("route", "/reserve")) {
      reserve();
    }
  }

  @Test
  @Order(3)
  void comesAfterIt() throws SQLException {
    try (Connection connection = pool.getConnection()) {
      connection.createStatement().execute("SELECT 1");
    }
  }
}
