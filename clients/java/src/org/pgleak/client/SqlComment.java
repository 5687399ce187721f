package org.pgleak.client;

import java.nio.charset.StandardCharsets;
import java.util.Map;

/**
 * sqlcommenter: {@code key='value'} pairs in a comment at the end of the statement, keys and values percent-encoded.
 *
 * @see <a href="https://google.github.io/sqlcommenter/spec/">the specification</a>
 */
final class SqlComment {
  private static final int kMaxValue = 255; // characters
  private static final int kMaxLength = 1000; // of all pairs
  private static final String kUnreserved = "-._~";
  private static final char[] kHex = "0123456789ABCDEF".toCharArray();

  private SqlComment() {}

  /** A value can neither end the string nor the comment: of the special characters only these four stay. */
  static String encode(String text) {
    String value = text.length() > kMaxValue ? text.substring(0, kMaxValue) : text;
    StringBuilder result = new StringBuilder(value.length() + 16);
    for (byte each : value.getBytes(StandardCharsets.UTF_8)) {
      char character = (char) (each & 0xff);
      if (character < 0x80 && (Character.isLetterOrDigit(character) || kUnreserved.indexOf(character) >= 0))
        result.append(character);
      else
        result.append('%').append(kHex[character >> 4]).append(kHex[character & 15]);
    }
    return result.toString();
  }

  static String pair(String key, String value) {
    return encode(key) + "='" + encode(value) + "'";
  }

  /** Without empty values, and without what would make it too long; the route comes first. */
  static String pairs(Map<String, String> tags) {
    StringBuilder result = new StringBuilder();
    add("route", tags.get("route"), result);
    for (Map.Entry<String, String> tag : tags.entrySet())
      if (!tag.getKey().equals("route")) add(tag.getKey(), tag.getValue(), result);
    return result.toString();
  }

  private static void add(String key, String value, StringBuilder result) {
    if (key.isEmpty() || value == null || value.isEmpty()) return;
    String pair = pair(key, value);
    if (result.length() + pair.length() > kMaxLength) return;
    if (result.length() > 0) result.append(',');
    result.append(pair);
  }

  static String join(String pairs, String morePairs) {
    if (pairs.isEmpty() || morePairs.isEmpty()) return pairs + morePairs;
    return pairs + ',' + morePairs;
  }

  /**
   * The statement with the comment at its end: before a closing semicolon, behind which pgjdbc would take it for a second
   * statement, and before the brace of {@code {call f(?)}}, behind which it takes nothing; on a line of its own if it would
   * be part of a line comment.
   */
  static String append(String sql, String pairs) {
    int end = sql.length();
    while (end > 0 && (Character.isWhitespace(sql.charAt(end - 1)) || sql.charAt(end - 1) == ';')) end--;
    if (pairs.isEmpty() || end == 0) return sql;
    if (isEscapedCall(sql, end)) end--;
    if (LineComments.isWithin(sql, end)) return sql + "\n/*" + pairs + "*/";
    return sql.substring(0, end) + " /*" + pairs + "*/" + sql.substring(end);
  }

  private static boolean isEscapedCall(String sql, int end) {
    if (sql.charAt(end - 1) != '}') return false;
    int begin = 0;
    while (begin < end && Character.isWhitespace(sql.charAt(begin))) begin++;
    return sql.charAt(begin) == '{';
  }
}
