// HTML written as a stream of bytes. Markup passes as it is; text that a client chose passes through text(),
// so that it can never become markup. Pure: allocates nothing, knows no clock and no server.
#ifndef PGLEAK_CORE_HTML_HPP
#define PGLEAK_CORE_HTML_HPP

#include <cstddef>
#include <cstdint>

#include "core/time.hpp"

namespace pgleak {

// Where the bytes go. `write` receives each piece once and in order; a piece is only valid during the call.
// It may leave by longjmp: the writer holds nothing that would have to be released.
struct ByteSink {
  void (*write)(void* context, const char* bytes, std::size_t count);
  void* context;
};

// A wall-clock time as a calendar and a clock on the wall of some time zone show it.
struct LocalTime {
  int year;
  int month;  // from 1
  int day;    // from 1
  int hour;
  int minute;
  int second;
  int utc_offset;  // in seconds, positive east of Greenwich
};

// Converts to the reader's time zone. Never ereports.
using ToLocalTime = LocalTime (*)(WallTime time);

class HtmlWriter {
 public:
  HtmlWriter(ByteSink sink, ToLocalTime converter) : sink_(sink), to_local_time_(converter) {}

  // Trusted HTML, NUL-terminated.
  HtmlWriter& markup(const char* html);

  // Untrusted bytes, NUL-terminated, in any encoding that extends ASCII, valid or not; nullptr is empty. The
  // result may stand between tags and in a quoted attribute. Control characters, which HTML lacks, become
  // '?'.
  HtmlWriter& text(const char* bytes);

  HtmlWriter& number(std::int64_t number);

  // With a comma between each three digits: "10,000".
  HtmlWriter& count(std::int64_t number);

  // `tenths` / 10 with one decimal, "12.5"; 0 or more.
  HtmlWriter& tenths(std::int64_t tenths);

  // The two largest units, as pgleak.format_duration() does: "9.9s", "59s", "3m 5s", "2h 0m", "1d 1h".
  HtmlWriter& duration(Micros duration);

  // "2026-01-31 23:59:59".
  HtmlWriter& time(WallTime time);

  // "2026-01-31 23:59:59 UTC+02:30", which breaks between date and time only.
  HtmlWriter& time_and_zone(WallTime time);

  ToLocalTime to_local_time() const { return to_local_time_; }

 private:
  void write(const char* bytes, std::size_t count) { sink_.write(sink_.context, bytes, count); }
  HtmlWriter& digits(std::int64_t number, int group);  // 0: no groups
  HtmlWriter& two_digits(int number);
  HtmlWriter& time(const LocalTime& local);
  HtmlWriter& two_units(std::int64_t large, const char* large_unit, std::int64_t small,
                        const char* small_unit);

  ByteSink sink_;
  ToLocalTime to_local_time_;
};

}  // namespace pgleak

#endif
