// The companion for JDBC: whether each kind of statement arrives with its line, whether the leaks of an application name theirs,
// and whether the application goes on when anything about it fails.
// Called by: test/clients/run companion_java, in test/clients/companion_java, with PGPORT of a throw-away cluster. Prints "ok - ..." and
//   "not ok - ..."; exit status is the truth.
// Must never: use the pool in a way that applications do not.
package shop;

import static shop.Checks.ask;
import static shop.Checks.check;
import static shop.Checks.waitUntil;

import com.zaxxer.hikari.HikariDataSource;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.platform.engine.discovery.DiscoverySelectors;
import org.junit.platform.launcher.Launcher;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;
import org.junit.platform.launcher.listeners.SummaryGeneratingListener;
import org.junit.platform.launcher.listeners.TestExecutionSummary;
import org.pgleak.client.LeakWatch;
import org.pgleak.client.PgleakDataSource;
import org.pgleak.client.RequestTags;

public final class Companion {
  interface Handler {
    String handle() throws Exception;
  }

  /** "shop/Shop.java:17", the line with this mark. */
  static String lineOf(String file, String mark) throws IOException {
    List<String> lines = Files.readAllLines(Path.of(file));
    for (int i = 0; i < lines.size(); i++) if (lines.get(i).endsWith("// " + mark)) return file + ":" + (i + 1);
    return file + ": no mark " + mark;
  }

  static String request(String route, Handler handler) {
    try (RequestTags.Scope scope = RequestTags.with("route", route)) {
      return handler.handle();
    } catch (Exception error) {
      return error.toString();
    }
  }

  static void testShop() throws Exception {
    HikariDataSource hikari = Checks.pool("shop-java", 6);
    PgleakDataSource source = PgleakDataSource.wrap(hikari);
    List<String> log = new CopyOnWriteArrayList<>();
    try (LeakWatch watch = LeakWatch.start(source, Checks::admin).log(log::add).returnTerminated(true)) {
      Checks.waitUntil(() -> ask("SELECT 1 FROM pg_stat_activity WHERE query = 'LISTEN pgleak'") != null);
      Shop shop = new Shop(source);
      Map<String, Handler> bugs = new LinkedHashMap<>();
      bugs.put("forgotten", shop::forgotten);
      bugs.put("background", shop::background);
      bugs.put("global", shop::global);
      bugs.put("error", shop::errorPath);
      bugs.forEach((bug, handler) -> request("/" + bug, handler));
      Thread inUse = new Thread(() -> { // the global session is never idle for long
        while (!Thread.interrupted()) {
          request("/global", shop::global);
          if (Checks.errorOf(() -> Thread.sleep(100)) != null) return;
        }
      });
      inUse.start();
      Map<String, String> methods = Map.of("forgotten", "forgotten", "background", "print", "global", "quantityOf", "error", "errorPath");
      for (String bug : bugs.keySet()) {
        String expected = lineOf("shop/Shop.java", "code: " + bug) + " " + methods.get(bug);
        boolean isFound = waitUntil(() -> ask("SELECT 1 FROM pgleak.leaks WHERE application_name = 'shop-java' AND code = ?",
            expected) != null);
        check(isFound, bug + ": the leak names " + expected,
            ask("SELECT jsonb_agg(jsonb_build_object('tags', tags, 'query', query)) FROM pgleak.leaks"));
        String taken = lineOf("shop/Shop.java", "taken: " + bug).replace("shop/", "");
        check(waitUntil(() -> log.stream().anyMatch(line -> line.contains(" of shop-java: past its limit") && line.contains("(" + taken + ")"))),
            bug + ": and the log the stack of the checkout at " + taken, log);
      }
      check("/forgotten".equals(ask("SELECT tags->>'route' FROM pgleak.leaks WHERE query LIKE 'UPDATE stock%'")),
          "a statement that is not prepared has the route as well", log);
      inUse.interrupt();
      inUse.join();
      check(hikari.getHikariPoolMXBean().getActiveConnections() == 4 && source.checkouts().size() == 4,
          "four connections are lost to the pool", source.checkouts());
      ask("SELECT count(pgleak.terminate(pid)) FROM pgleak.leaks WHERE application_name = 'shop-java'");
      check(waitUntil(() -> hikari.getHikariPoolMXBean().getActiveConnections() == 0 && source.checkouts().isEmpty()),
          "after a terminate, the pool has their places back", source.checkouts());
      check("100".equals(shop.healthy()), "and works", log);
      for (String bug : bugs.keySet()) testRecords(bug, lineOf("shop/Shop.java", "code: " + bug) + " " + methods.get(bug));
    }
    hikari.close();
  }

  /** What stays when the leak is over. */
  static void testRecords(String bug, String code) throws Exception {
    check(waitUntil(() -> ask("SELECT 1 FROM pgleak.history h JOIN pgleak.offenders o USING (code) WHERE h.application_name = 'shop-java'"
        + " AND outcome = 'terminated' AND code = ?", code) != null), bug + ": history and offenders name it",
        ask("SELECT jsonb_agg(jsonb_build_object('code', code, 'outcome', outcome)) FROM pgleak.history"));
    check(Files.readString(Path.of(System.getenv("SERVER_LOG"))).contains("code=\"" + code + "\""), bug + ": so does the server's log", code);
    String page = ask("SELECT pgleak.report('1 day')");
    check(page.contains(code) || page.contains(code.replace("/", "%2F").replace(":", "%3A").replace(" ", "%20")), bug + ": and the report", code);
  }

  static void testExtension() throws Exception {
    SummaryGeneratingListener listener = new SummaryGeneratingListener();
    Launcher launcher = LauncherFactory.create();
    launcher.execute(LauncherDiscoveryRequestBuilder.request().selectors(DiscoverySelectors.selectClass(ShopTest.class)).build(), listener);
    TestExecutionSummary summary = listener.getSummary();
    List<TestExecutionSummary.Failure> failures = summary.getFailures();
    check(summary.getTestsSucceededCount() == 2 && failures.size() == 1
        && failures.get(0).getTestIdentifier().getDisplayName().startsWith("leavesATransactionOpen"),
        "JUnit: the test that leaves a transaction open fails, and no other", failures.stream().map(f -> f.getException()).toList());
    String message = failures.isEmpty() ? "" : failures.get(0).getException().getMessage();
    check(message.contains(lineOf("shop/ShopTest.java", "code: test") + " reserve: idle in transaction"), "JUnit: with its line", message);
    check(message.contains("UPDATE stock") && message.contains("(" + lineOf("shop/ShopTest.java", "taken: test").replace("shop/", "") + ")"),
        "JUnit: with trail and checkout", message);
  }

  public static void main(String[] arguments) throws Exception {
    try (Connection admin = Checks.admin()) {
      Statements.test();
      testShop();
      testExtension();
    }
    System.exit(Checks.failed > 0 ? 1 : 0);
  }

  private Companion() {}
}
