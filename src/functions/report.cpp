// pgleak.report(): checks the period, reads its rows (functions/report_data) and renders the page
// (core/report_page).
//
// Runs in the backend that calls it, with the rights of the caller and the search_path of the SQL
// declaration. Read-only, so it works on a standby as well.

#include <cstdint>

#include "core/report_page.hpp"
#include "functions/functions.hpp"
#include "functions/report_data.hpp"
#include "pg/clock.hpp"
#include "pg/postgres.hpp"

extern "C" {
#include "access/xact.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(pgleak_render_report);

// The assembler puts the style sheet here, with a NUL behind it.
extern const char pgleak_report_style[] __attribute__((visibility("hidden")));
}

asm(".pushsection .rodata\n"
    ".globl pgleak_report_style\n"
    ".hidden pgleak_report_style\n"
    "pgleak_report_style:\n"
    ".incbin \"functions/report.css\"\n"
    ".byte 0\n"
    ".popsection\n");

namespace pgleak {

namespace {

const char* setting(const char* name) {
  const char* const value = GetConfigOption(name, true, false);
  return value == nullptr ? "" : value;
}

// In the session's time zone. Never ereports.
LocalTime to_local_time(WallTime time) {
  pg_tm local{};
  fsec_t fraction = 0;
  int west_of_utc = 0;
  if (timestamp2tm(to_timestamp(time), &west_of_utc, &local, &fraction, nullptr, nullptr) != 0)
    return LocalTime{};
  return LocalTime{local.tm_year, local.tm_mon, local.tm_mday, local.tm_hour,
                   local.tm_min,  local.tm_sec, -west_of_utc};
}

void append_bytes(void* context, const char* bytes, std::size_t count) {
  appendBinaryStringInfo(static_cast<StringInfo>(context), bytes, static_cast<int>(count));
}

// Appends the page to `out`, which must not live in a memory context of SPI. May ereport.
void render_report(const ReportPeriod& period, StringInfo out) {
  SPI_connect();
  ReportPage* const page = static_cast<ReportPage*>(palloc0(sizeof(ReportPage)));
  page->style = pgleak_report_style;
  page->cluster_name = setting("cluster_name");
  page->server_version = setting("server_version");
  page->time_zone = setting("TimeZone");
  page->timeline.period = period;

  read_report_data(page);
  HtmlWriter html(ByteSink{append_bytes, out}, to_local_time);
  write_report(&html, page);
  SPI_finish();
}

bool is_longer(const Interval* a, const Interval* b) {
  return DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(a), IntervalPGetDatum(b)));
}

// The period of that length which ends now; an ERROR unless it is between 0 and 10 years. `length` may be
// nullptr.
ReportPeriod checked_period(const Interval* length) {
  const Interval none{0, 0, 0};
  const Interval longest{0, 0, 10 * MONTHS_PER_YEAR};
  ReportPeriod period{WallTime::none(), from_timestamp(GetCurrentTransactionStartTimestamp())};
  bool is_valid = length != nullptr && is_longer(length, &none) && !is_longer(length, &longest);
  if (is_valid) {
    period.since = from_timestamp(DatumGetTimestampTz(DirectFunctionCall2(
        timestamptz_mi_interval, TimestampTzGetDatum(to_timestamp(period.upto)), IntervalPGetDatum(length))));
    // Months of 28 days make '1 month -29 days' end after it began, although intervals count 30.
    is_valid = period.since < period.upto;
  }
  if (!is_valid)
    ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("the period of the report must be between 0 and 10 years"),
                    errhint("For example: SELECT pgleak.report('7 days').")));
  return period;
}

}  // namespace

}  // namespace pgleak

Datum pgleak_render_report(PG_FUNCTION_ARGS) {
  pgleak::require_preloading();  // the page shows the pools, which live in shared memory
  const pgleak::ReportPeriod period =
      pgleak::checked_period(PG_ARGISNULL(0) ? nullptr : PG_GETARG_INTERVAL_P(0));
  StringInfoData out;
  initStringInfo(&out);
  pgleak::render_report(period, &out);
  PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}
