#include "core/html.hpp"

#include <cstring>

namespace pgleak {

namespace {

constexpr int kMinute = 60;
constexpr int kHour = 60 * kMinute;
constexpr int kDay = 24 * kHour;

// What stands in HTML for a byte; nullptr for the byte itself. Bytes of multibyte characters are all above
// ASCII in every encoding of a server, so no part of a character is mistaken for markup.
const char* escaped(char byte) {
  switch (byte) {
    case '&':
      return "&amp;";
    case '<':
      return "&lt;";
    case '>':
      return "&gt;";
    case '"':
      return "&quot;";
    case '\'':
      return "&#39;";
    case '\t':
    case '\n':
    case '\r':
      return nullptr;
    default: {
      const unsigned char code = static_cast<unsigned char>(byte);
      return code < 0x20 || code == 0x7F ? "?" : nullptr;
    }
  }
}

}  // namespace

HtmlWriter& HtmlWriter::markup(const char* html) {
  write(html, std::strlen(html));
  return *this;
}

HtmlWriter& HtmlWriter::text(const char* bytes) {
  if (bytes == nullptr) return *this;
  const char* start = bytes;
  const char* p = bytes;
  for (; *p != '\0'; p++) {
    const char* const entity = escaped(*p);
    if (entity == nullptr) continue;
    if (p > start) write(start, static_cast<std::size_t>(p - start));
    markup(entity);
    start = p + 1;
  }
  if (p > start) write(start, static_cast<std::size_t>(p - start));
  return *this;
}

HtmlWriter& HtmlWriter::digits(std::int64_t number, int group) {
  char digits[32];
  char* p = digits + sizeof(digits);
  std::uint64_t rest =
      number < 0 ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number);
  int written = 0;
  do {
    if (group > 0 && written > 0 && written % group == 0) *--p = ',';
    *--p = static_cast<char>('0' + rest % 10);
    written++;
    rest /= 10;
  } while (rest != 0);
  if (number < 0) *--p = '-';
  write(p, static_cast<std::size_t>(digits + sizeof(digits) - p));
  return *this;
}

HtmlWriter& HtmlWriter::number(std::int64_t number) { return digits(number, 0); }

HtmlWriter& HtmlWriter::count(std::int64_t number) { return digits(number, 3); }

HtmlWriter& HtmlWriter::tenths(std::int64_t tenths) {
  number(tenths / 10);
  if (tenths % 10 != 0) markup(".").number(tenths % 10);
  return *this;
}

HtmlWriter& HtmlWriter::two_units(std::int64_t large, const char* large_unit, std::int64_t small,
                                  const char* small_unit) {
  return number(large).markup(large_unit).markup(" ").number(small).markup(small_unit);
}

HtmlWriter& HtmlWriter::duration(Micros duration) {
  const std::int64_t tenths = duration < Micros{0} ? 0 : duration / (100 * kMillisecond);
  const std::int64_t seconds = tenths / 10;
  if (seconds < 10) return number(seconds).markup(".").number(tenths % 10).markup("s");
  if (seconds < kMinute) return number(seconds).markup("s");
  if (seconds < kHour) return two_units(seconds / kMinute, "m", seconds % kMinute, "s");
  if (seconds < kDay) return two_units(seconds / kHour, "h", seconds % kHour / kMinute, "m");
  return two_units(seconds / kDay, "d", seconds % kDay / kHour, "h");
}

HtmlWriter& HtmlWriter::two_digits(int number) {
  const char digits[] = {static_cast<char>('0' + number / 10 % 10), static_cast<char>('0' + number % 10)};
  write(digits, sizeof(digits));
  return *this;
}

HtmlWriter& HtmlWriter::time(const LocalTime& local) {
  two_digits(local.year / 100).two_digits(local.year).markup("-").two_digits(local.month).markup("-");
  two_digits(local.day).markup(" ").two_digits(local.hour).markup(":").two_digits(local.minute).markup(":");
  return two_digits(local.second);
}

HtmlWriter& HtmlWriter::time(WallTime time) { return this->time(to_local_time_(time)); }

HtmlWriter& HtmlWriter::time_and_zone(WallTime time) {
  const LocalTime local = to_local_time_(time);
  this->time(local).markup("&#160;UTC").markup(local.utc_offset < 0 ? "-" : "+");
  const int offset = (local.utc_offset < 0 ? -local.utc_offset : local.utc_offset) / kMinute;
  two_digits(offset / 60);
  if (offset % 60 != 0) markup(":").two_digits(offset % 60);
  return *this;
}

}  // namespace pgleak
