package org.pgleak.client.junit;

import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.opentest4j.AssertionFailedError;
import org.pgleak.client.LeakWatch;
import org.pgleak.client.OpenTransactions;
import org.pgleak.client.PgleakDataSource;

/**
 * For JUnit 5: fails a test that leaves a transaction open on the server, with its line and trail.
 *
 * <pre>@RegisterExtension
 * static final NoOpenTransactions check = new NoOpenTransactions(() -> DriverManager.getConnection(url), "shop-api", shop);</pre>
 */
public final class NoOpenTransactions implements AfterEachCallback {
  private static final long kPatience = 500; // milliseconds

  private final OpenTransactions transactions;
  private long patience = kPatience;

  /** The parameters are those of {@link OpenTransactions}. */
  public NoOpenTransactions(LeakWatch.Connector connector, String applicationName, PgleakDataSource source) {
    transactions = new OpenTransactions(connector, applicationName, source);
  }

  /** How long a transaction may take to end after its test, in milliseconds. */
  public NoOpenTransactions patience(long milliseconds) {
    patience = milliseconds;
    return this;
  }

  @Override
  public void afterEach(ExtensionContext context) throws Exception {
    String open = transactions.describeNew(patience);
    if (!open.isEmpty()) throw new AssertionFailedError(open);
  }
}
