// What the tests of the report share: a sink that keeps the bytes, and time zones.
#ifndef PGLEAK_TEST_REPORT_SAMPLES_HPP
#define PGLEAK_TEST_REPORT_SAMPLES_HPP

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>

#include "core/html.hpp"
#include "core/time.hpp"

namespace pgleak {

inline constexpr std::int64_t kUnixSecondsIn2000 = 946684800;

inline LocalTime local_time(WallTime time, int offset) {
  const std::int64_t micros = (time + offset * kSecond).us;
  const std::int64_t seconds = micros / kSecond.us - (micros % kSecond.us < 0 ? 1 : 0);
  const std::time_t unix_time = static_cast<std::time_t>(seconds + kUnixSecondsIn2000);
  std::tm parts{};
  gmtime_r(&unix_time, &parts);
  return LocalTime{parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                   parts.tm_min,         parts.tm_sec,     offset};
}

inline WallTime at(int year, int month, int day, int hour = 0, int minute = 0, int second = 0) {
  std::tm parts{};
  parts.tm_year = year - 1900;
  parts.tm_mon = month - 1;
  parts.tm_mday = day;
  parts.tm_hour = hour;
  parts.tm_min = minute;
  parts.tm_sec = second;
  return WallTime::none() + (static_cast<std::int64_t>(timegm(&parts)) - kUnixSecondsIn2000) * kSecond;
}

inline LocalTime utc(WallTime time) { return local_time(time, 0); }
inline LocalTime kolkata(WallTime time) { return local_time(time, 19800); }
inline LocalTime newfoundland(WallTime time) { return local_time(time, -12600); }

// As in 2026: summer time from March 29 to October 25, changed at 01:00 UTC.
inline LocalTime berlin(WallTime time) {
  const bool is_summer = time >= at(2026, 3, 29, 1) && time < at(2026, 10, 25, 1);
  return local_time(time, is_summer ? 7200 : 3600);
}

inline void keep_bytes(void* context, const char* bytes, std::size_t count) {
  static_cast<std::string*>(context)->append(bytes, count);
}

// What `write` writes with the writer that it gets.
template <typename Write>
std::string written(Write write, ToLocalTime zone = utc) {
  std::string out;
  HtmlWriter html(ByteSink{keep_bytes, &out}, zone);
  write(&html);
  return out;
}

// How often `part` is in `whole`.
inline int occurrences(const std::string& whole, const std::string& part) {
  int count = 0;
  for (std::size_t i = whole.find(part); i != std::string::npos; i = whole.find(part, i + part.size()))
    count++;
  return count;
}

}  // namespace pgleak

#endif
