#include "core/report_axis.hpp"

#include <cstring>

namespace pgleak {

namespace {

constexpr Micros kMinute = 60 * kSecond;
constexpr Micros kHour = 60 * kMinute;
constexpr Micros kDay = 24 * kHour;
constexpr int kMostSteps = 8;

constexpr Micros kSteps[] = {kSecond,  5 * kSecond, 15 * kSecond, kMinute,    5 * kMinute, 15 * kMinute,
                             kHour,    3 * kHour,   6 * kHour,    12 * kHour, kDay,        2 * kDay,
                             7 * kDay, 28 * kDay,   91 * kDay,    364 * kDay};

constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

// The shortest distance that makes at most eight ticks.
Micros choose_step(Micros length) {
  for (const Micros step : kSteps)
    if (length <= kMostSteps * step) return step;
  return length / kMostSteps;
}

Micros offset_at(WallTime time, ToLocalTime to_local_time) {
  return to_local_time(time).utc_offset * kSecond;
}

// The moment at which clocks show `local`, a WallTime that counts in local time.
WallTime from_local(WallTime local, ToLocalTime to_local_time) {
  const Micros guess = offset_at(local, to_local_time);
  return local - offset_at(local - guess, to_local_time);
}

// The last multiple of `step` since `from` that is not after `time`.
WallTime floor_to(WallTime from, WallTime time, Micros step) {
  const Micros since = time - from;
  const std::int64_t steps = since / step - (since.us % step.us < 0 ? 1 : 0);
  return from + steps * step;
}

void put_two_digits(char* target, int number) {
  target[0] = static_cast<char>('0' + number / 10 % 10);
  target[1] = static_cast<char>('0' + number % 10);
}

void put_date(const LocalTime& local, bool has_year, char* label) {
  const int month = local.month >= 1 && local.month <= 12 ? local.month : 1;
  std::memcpy(label, kMonths[month - 1], 3);
  label[3] = ' ';
  if (has_year) {
    put_two_digits(label + 4, local.year / 100);
    put_two_digits(label + 6, local.year);
  } else {
    put_two_digits(label + 4, local.day);
  }
}

// `label` is zeroed.
void put_label(const LocalTime& local, Micros step, char* label) {
  const bool is_midnight = local.hour == 0 && local.minute == 0 && local.second == 0;
  if (step >= kDay || (is_midnight && step >= kMinute)) {
    put_date(local, step >= 91 * kDay, label);
    return;
  }
  put_two_digits(label, local.hour);
  label[2] = ':';
  put_two_digits(label + 3, local.minute);
  if (step >= kMinute) return;
  label[5] = ':';
  put_two_digits(label + 6, local.second);
}

}  // namespace

std::int64_t ReportPeriod::position(WallTime time, std::int64_t length) const {
  if (time <= since) return 0;
  if (time >= upto) return length;
  const double share = static_cast<double>((time - since).us) / static_cast<double>((upto - since).us);
  return static_cast<std::int64_t>(share * static_cast<double>(length));
}

int find_ticks(const ReportPeriod& period, ToLocalTime to_local_time, Tick (&ticks)[kMostTicks]) {
  const Micros step = choose_step(period.upto - period.since);
  const WallTime local_since = period.since + offset_at(period.since, to_local_time);
  const WallTime midnight = floor_to(WallTime{0}, local_since, kDay);
  const WallTime first = floor_to(midnight, local_since, step);
  // Steps of more than an hour keep to the local clock when it is changed, so that they stay at midnight or
  // noon.
  const bool keeps_local_time = step > kHour;
  const WallTime start = from_local(first, to_local_time);
  int count = 0;
  for (int i = 0; i < 2 * kMostTicks && count < kMostTicks; i++) {
    const WallTime at = keeps_local_time ? from_local(first + i * step, to_local_time) : start + i * step;
    if (at > period.upto) break;
    if (at <= period.since) continue;
    ticks[count] = Tick{at, {}};
    put_label(to_local_time(at), step, ticks[count].label);
    count++;
  }
  return count;
}

Ticks find_ticks(const ReportPeriod& period, ToLocalTime to_local_time) {
  Ticks ticks{};
  ticks.count = find_ticks(period, to_local_time, ticks.ticks);
  return ticks;
}

void write_moment(HtmlWriter* html, const ReportPeriod& period, WallTime time) {
  const LocalTime local = html->to_local_time()(time);
  char text[16]{};
  char* clock = text;
  if (period.upto - period.since > kDay) {
    put_date(local, false, text);
    text[6] = ' ';
    clock += 7;
  }
  put_two_digits(clock, local.hour);
  clock[2] = ':';
  put_two_digits(clock + 3, local.minute);
  html->markup(text);
}

void write_rectangle(HtmlWriter* html, const char* css_class, std::int64_t x, std::int64_t y,
                     std::int64_t width, std::int64_t height) {
  html->markup("<rect class=\"").markup(css_class).markup("\" x=\"").tenths(x).markup("\" y=\"").tenths(y);
  html->markup("\" width=\"").tenths(width).markup("\" height=\"").tenths(height).markup("\"/>");
}

void write_grid(HtmlWriter* html, const ReportPeriod& period, const Ticks& ticks) {
  for (int i = 0; i < ticks.count; i++) {
    const std::int64_t x = period.position(ticks.ticks[i].at, kDrawingWidth);
    html->markup("<line class=\"grid\" x1=\"").tenths(x).markup("\" x2=\"").tenths(x);
    html->markup("\" y1=\"0\" y2=\"400\"/>");
  }
}

void write_axis(HtmlWriter* html, const ReportPeriod& period, const Ticks& ticks) {
  html->markup("<div class=\"axis\" aria-hidden=\"true\">");
  for (int i = 0; i < ticks.count; i++) {
    const std::int64_t percent_tenths = period.position(ticks.ticks[i].at, 1000);
    // A label is centered on its tick and would stick out at the ends.
    if (percent_tenths < 30 || percent_tenths > 970) continue;
    html->markup("<span style=\"left:").tenths(percent_tenths).markup("%\">");
    html->markup(ticks.ticks[i].label).markup("</span>");
  }
  html->markup("</div>");
}

}  // namespace pgleak
