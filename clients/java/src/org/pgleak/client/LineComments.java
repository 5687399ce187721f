package org.pgleak.client;

/** Tells a line comment at the end of a statement from two minus signs in a string, as the server's lexer does. */
final class LineComments {
  private final String sql;
  private final int end;
  private int place;

  private LineComments(String sql, int end) {
    this.sql = sql;
    this.end = end;
  }

  /** Whether what is inserted at `end` would belong to a line comment. */
  static boolean isWithin(String sql, int end) {
    int line = Math.max(sql.lastIndexOf('\n', end - 1), sql.lastIndexOf('\r', end - 1)) + 1;
    int dashes = sql.indexOf("--", line);
    // Hardly any statement has two of them in its last line.
    return dashes >= 0 && dashes < end && new LineComments(sql, end).reachesEnd();
  }

  private boolean reachesEnd() {
    while (place < end) {
      if (sql.startsWith("--", place)) {
        while (place < end && sql.charAt(place) != '\n' && sql.charAt(place) != '\r') place++;
        if (place >= end) return true;
      } else if (sql.startsWith("/*", place)) {
        skipBlockComment();
      } else {
        skipToken(sql.charAt(place));
      }
    }
    return false;
  }

  private void skipToken(char first) {
    int begin = place++;
    if (first == '"') skipQuoted('"', false);
    else if (first == '\'') skipQuoted('\'', isEscapeString(begin));
    else if (first == '$' && !isWord(begin - 1)) skipDollarQuoted(begin);
  }

  private void skipQuoted(char quote, boolean hasEscapes) {
    while (place < end && sql.charAt(place) != quote) place += hasEscapes && sql.charAt(place) == '\\' ? 2 : 1;
    place++; // a doubled quote begins the next string
  }

  private boolean isEscapeString(int quote) {
    return quote > 0 && (sql.charAt(quote - 1) == 'E' || sql.charAt(quote - 1) == 'e') && !isWord(quote - 2);
  }

  private boolean isWord(int index) {
    return index >= 0 && (Character.isLetterOrDigit(sql.charAt(index)) || sql.charAt(index) == '_' || sql.charAt(index) == '$');
  }

  private void skipDollarQuoted(int begin) {
    int close = begin + 1;
    while (close < end && sql.charAt(close) != '$' && isWord(close)) close++;
    // $1 is a parameter, and $$ or $tag$ begins a string.
    if (close >= end || sql.charAt(close) != '$' || Character.isDigit(sql.charAt(begin + 1))) return;
    String tag = sql.substring(begin, close + 1);
    int last = sql.indexOf(tag, close + 1);
    place = last < 0 ? end : last + tag.length();
  }

  private void skipBlockComment() {
    int depth = 0;
    do {
      if (sql.startsWith("/*", place)) depth++;
      else if (sql.startsWith("*/", place)) depth--;
      else place--; // one character only
      place += 2;
    } while (depth > 0 && place < end);
  }
}
