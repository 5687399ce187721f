package org.pgleak.client;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Which line of the application runs: the first stack frame of a class that belongs to no library. A frame belongs to the
 * application if its class is in one of the packages given, or, without any, in none of those that are known to be libraries.
 */
final class CallSites {
  private static final String[] kLibraries = {
    "java.", "javax.", "jakarta.", "jdk.", "sun.", "com.sun.", "kotlin.", "kotlinx.", "scala.", "groovy.", "clojure.",
    "org.pgleak.client.", "org.postgresql.", "com.zaxxer.hikari.", "org.apache.", "com.mchange.", "io.agroal.", "com.alibaba.",
    "org.springframework.", "org.hibernate.", "org.eclipse.", "org.jooq.", "org.jdbi.", "org.mybatis.", "com.baomidou.",
    "com.querydsl.", "com.blazebit.", "org.flywaydb.", "liquibase.", "io.micronaut.", "io.quarkus.", "io.netty.", "io.vertx.",
    "reactor.", "rx.", "io.reactivex.", "io.opentelemetry.", "datadog.", "com.newrelic.", "net.ttddyy.", "net.bytebuddy.",
    "io.micrometer.", "org.junit.", "junit.", "org.testng.", "org.mockito.", "org.slf4j.", "ch.qos.", "com.google.",
    "com.fasterxml.", "org.aspectj.", "io.dropwizard.", "io.ktor.", "org.jetbrains.exposed.", "slick.", "doobie.",
  };
  private static final int kMaxSites = 10_000;
  private static final StackWalker walker = StackWalker.getInstance(StackWalker.Option.RETAIN_CLASS_REFERENCE);

  private final String[] applicationPackages;
  private final Map<StackTraceElement, String> pairOf = new ConcurrentHashMap<>();
  private final ClassValue<Boolean> isApplication = new ClassValue<>() {
    @Override
    protected Boolean computeValue(Class<?> type) {
      return isApplication(type.getName());
    }
  };

  CallSites(String... applicationPackages) {
    this.applicationPackages = applicationPackages.clone();
  }

  boolean isApplication(String className) {
    // What a framework generates has no source.
    if (className.contains("$$") || className.startsWith("jdk.proxy") || className.startsWith("com.sun.proxy")) return false;
    for (String prefix : applicationPackages) if (className.startsWith(prefix)) return true;
    if (applicationPackages.length > 0) return false;
    for (String prefix : kLibraries) if (className.startsWith(prefix)) return false;
    return true;
  }

  /** {@code code='com%2Fshop%2FOrders.java%3A42%20list'}, or "" if no frame is the application's. */
  String codePair() {
    StackTraceElement site = walker.walk(frames -> {
      var frame = frames.iterator();
      while (frame.hasNext()) {
        StackWalker.StackFrame each = frame.next();
        if (isApplication.get(each.getDeclaringClass())) return each.toStackTraceElement();
      }
      return null;
    });
    if (site == null) return "";
    String known = pairOf.get(site);
    if (known != null) return known;
    String pair = SqlComment.pair("code", describe(site));
    if (pairOf.size() < kMaxSites) pairOf.put(site, pair);
    return pair;
  }

  /** {@code com/shop/Orders.java:42 list}. The code of a lambda expression is shown as its method's. */
  static String describe(StackTraceElement site) {
    String className = site.getClassName();
    String directory = className.substring(0, className.lastIndexOf('.') + 1).replace('.', '/');
    String file = site.getFileName() != null ? site.getFileName() : className.substring(directory.length());
    String method = site.getMethodName();
    if (method.startsWith("lambda$")) method = method.substring("lambda$".length(), Math.max(method.lastIndexOf('$'), "lambda$".length()));
    String line = site.getLineNumber() > 0 ? ":" + site.getLineNumber() : "";
    return directory + file + line + (method.isEmpty() || method.equals("new") ? "" : " " + method);
  }
}
