package org.pgleak.client;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * The companion's own failures. None of them reaches the application: what it asked for goes on without the companion, and the
 * first failure of each kind is reported once.
 */
final class Failures {
  private static final System.Logger logger = System.getLogger("org.pgleak.client");
  private static final Set<String> reported = ConcurrentHashMap.newKeySet();

  private Failures() {}

  static void report(String what, Throwable error) {
    if (!reported.add(what)) return;
    try {
      logger.log(System.Logger.Level.WARNING, "pgleak-client: " + what + " failed, and the application goes on without it", error);
    } catch (RuntimeException ignored) {
      // Nothing is left to say it with.
    }
  }
}
