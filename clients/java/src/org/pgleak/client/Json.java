package org.pgleak.client;

import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Reads the members of one JSON object: numbers and words as their text, strings decoded, null as null, and objects and arrays
 * within as their text.
 */
final class Json {
  private final String text;
  private int place;

  private Json(String text) {
    this.text = text;
  }

  /** Throws IllegalArgumentException if it is none. */
  static Map<String, String> members(String text) {
    try {
      return new Json(text).object();
    } catch (IndexOutOfBoundsException error) {
      throw new IllegalArgumentException("no JSON object: " + text, error);
    }
  }

  private Map<String, String> object() {
    Map<String, String> result = new LinkedHashMap<>();
    expect('{');
    if (next() == '}') return result;
    do {
      next();
      String key = string();
      expect(':');
      result.put(key, value());
    } while (take(','));
    expect('}');
    return result;
  }

  private char next() {
    while (Character.isWhitespace(text.charAt(place))) place++;
    return text.charAt(place);
  }

  private boolean take(char character) {
    if (next() != character) return false;
    place++;
    return true;
  }

  private void expect(char character) {
    if (!take(character)) throw new IllegalArgumentException(character + " expected at " + place + " of " + text);
  }

  private String value() {
    char first = next();
    if (first == '"') return string();
    int begin = place;
    if (first == '{' || first == '[') {
      skipNested();
      return text.substring(begin, place);
    }
    while (",}] \n\t\r".indexOf(text.charAt(place)) < 0) place++;
    String word = text.substring(begin, place);
    return word.equals("null") ? null : word;
  }

  private void skipNested() {
    int depth = 0;
    do {
      switch (text.charAt(place)) {
        case '"': string(); break;
        case '{': case '[': depth++; place++; break;
        case '}': case ']': depth--; place++; break;
        default: place++;
      }
    } while (depth > 0);
  }

  private String string() {
    expect('"');
    StringBuilder result = new StringBuilder();
    for (char each = text.charAt(place++); each != '"'; each = text.charAt(place++)) {
      if (each != '\\') result.append(each);
      else result.append(escaped(text.charAt(place++)));
    }
    return result.toString();
  }

  private char escaped(char letter) {
    switch (letter) {
      case 'n': return '\n';
      case 't': return '\t';
      case 'r': return '\r';
      case 'b': return '\b';
      case 'f': return '\f';
      case 'u':
        place += 4;
        return (char) Integer.parseInt(text.substring(place - 4, place), 16);
      default: return letter;
    }
  }
}
