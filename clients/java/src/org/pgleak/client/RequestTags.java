package org.pgleak.client;

import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;

/**
 * The tags of the request that this thread handles:
 *
 * <pre>try (RequestTags.Scope scope = RequestTags.with("route", "/orders/{id}")) { ... }</pre>
 *
 * <p>Another thread that works for the same request takes them over with {@link #current()} and {@link #with(Map)}.
 */
public final class RequestTags {
  private static final ThreadLocal<RequestTags> current = new ThreadLocal<>();

  private final Map<String, String> tags;
  private final String pairs;

  private RequestTags(Map<String, String> tags) {
    this.tags = Collections.unmodifiableMap(tags);
    this.pairs = SqlComment.pairs(tags);
  }

  /** Ends with {@link #close()}, which restores the tags from before. */
  public interface Scope extends AutoCloseable {
    @Override
    void close();
  }

  /** Adds a tag to those of this thread; an empty value or null removes it. */
  public static Scope with(String key, String value) {
    return with(Collections.singletonMap(key, value));
  }

  /** Adds tags to those of this thread. Never throws. */
  public static Scope with(Map<String, String> added) {
    RequestTags before = current.get();
    try {
      Map<String, String> tags = new TreeMap<>(before == null ? Map.of() : before.tags);
      tags.putAll(added);
      current.set(new RequestTags(tags));
    } catch (RuntimeException error) {
      Failures.report("a tag", error);
    }
    return () -> {
      if (before == null) current.remove();
      else current.set(before);
    };
  }

  /** The tags of this thread, unmodifiable. */
  public static Map<String, String> current() {
    RequestTags tags = current.get();
    return tags == null ? Map.of() : tags.tags;
  }

  static String currentPairs() {
    RequestTags tags = current.get();
    return tags == null ? "" : tags.pairs;
  }
}
