#include "core/text.hpp"

#include <cstring>

namespace pgleak {

namespace {

using Byte = unsigned char;

bool is_continuation(Byte byte) { return (byte & 0xC0) == 0x80; }

// C0 and DEL, and C1 as encoded in UTF-8 (U+0080 to U+009F), which some terminals obey as well.
bool is_control(const char* text, int length) {
  const Byte first = static_cast<Byte>(text[0]);
  if (length == 1) return first < 0x20 || first == 0x7F;
  return length == 2 && first == 0xC2 && static_cast<Byte>(text[1]) < 0xA0;
}

bool needs_quotes(const char* value) {
  if (value[0] == '\0') return true;
  for (const char* p = value; *p != '\0';) {
    const int length = utf8_character_length(p);
    if (length == 0 || is_control(p, length) || std::strchr(" \"\\=", *p) != nullptr) return true;
    p += length;
  }
  return false;
}

}  // namespace

int utf8_character_length(const char* text) {
  const Byte* p = reinterpret_cast<const Byte*>(text);
  if (p[0] < 0x80) return 1;
  if (p[0] < 0xC2 || p[0] > 0xF4) return 0;
  if (!is_continuation(p[1])) return 0;
  if (p[0] < 0xE0) return 2;
  if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F)) return 0;
  if ((p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F)) return 0;
  if (!is_continuation(p[2])) return 0;
  if (p[0] < 0xF0) return 3;
  return is_continuation(p[3]) ? 4 : 0;
}

bool TextBuffer::append_whole(const char* bytes, std::size_t count) {
  if (is_full_ || count >= size_ - length_) {
    is_full_ = true;
    return false;
  }
  std::memcpy(buffer_ + length_, bytes, count);
  length_ += count;
  buffer_[length_] = '\0';
  return true;
}

void TextBuffer::append(const char* text) {
  for (const char* p = text; *p != '\0';) {
    const int length = utf8_character_length(p);
    const std::size_t count = length > 0 ? static_cast<std::size_t>(length) : 1;
    if (!append_whole(p, count)) return;
    p += count;
  }
}

void TextBuffer::append_number(std::int64_t number) {
  char digits[24];
  char* p = digits + sizeof(digits);
  std::uint64_t rest =
      number < 0 ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number);
  do {
    *--p = static_cast<char>('0' + rest % 10);
    rest /= 10;
  } while (rest != 0);
  if (number < 0) *--p = '-';
  append_whole(p, static_cast<std::size_t>(digits + sizeof(digits) - p));
}

void TextBuffer::append_seconds(Micros duration) {
  const std::int64_t milliseconds = duration / kMillisecond;
  if (milliseconds < 0 && milliseconds > -1000) append("-");  // which a whole part of 0 would lose
  append_number(milliseconds / 1000);
  std::int64_t fraction = milliseconds % 1000;
  if (fraction < 0) fraction = -fraction;
  if (fraction != 0) {
    char decimals[] = ".000";
    for (int i = 3; i >= 1; i--, fraction /= 10) decimals[i] = static_cast<char>('0' + fraction % 10);
    for (int i = 3; decimals[i] == '0'; i--) decimals[i] = '\0';
    append(decimals);
  }
  append("s");
}

void TextBuffer::append_escaped(const char* text, bool quoted) {
  static const char kHexDigits[] = "0123456789ABCDEF";
  for (const char* p = text; *p != '\0';) {
    const int length = utf8_character_length(p);
    bool fits;
    if (length > 0 && !is_control(p, length) && *p != '\\' && !(quoted && *p == '"')) {
      fits = append_whole(p, static_cast<std::size_t>(length));
      p += length;
    } else if (*p == '\\' || *p == '"') {
      const char escaped[] = {'\\', *p};
      fits = append_whole(escaped, sizeof(escaped));
      p++;
    } else if (*p == '\n' || *p == '\r' || *p == '\t') {
      const char escaped[] = {'\\', *p == '\n' ? 'n' : *p == '\r' ? 'r' : 't'};
      fits = append_whole(escaped, sizeof(escaped));
      p++;
    } else {
      const Byte byte = static_cast<Byte>(*p);
      const char escaped[] = {'\\', 'x', kHexDigits[byte >> 4], kHexDigits[byte & 0x0F]};
      fits = append_whole(escaped, sizeof(escaped));
      p++;
    }
    if (!fits) return;
  }
}

void TextBuffer::append_pair(const char* key, const char* value) {
  append(key);
  append("=");
  const bool quoted = needs_quotes(value);
  if (quoted) append("\"");
  append_escaped(value, quoted);
  if (quoted) append("\"");
}

}  // namespace pgleak
