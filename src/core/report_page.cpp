#include "core/report_page.hpp"

#include <cstring>

#include "core/report_table.hpp"

namespace pgleak {

namespace {

// Without the packager's part.
void write_version(HtmlWriter* html, const char* server_version) {
  char version[32];
  const std::size_t length = std::strcspn(server_version, " ");
  const std::size_t kept = length < sizeof(version) ? length : sizeof(version) - 1;
  std::memcpy(version, server_version, kept);
  version[kept] = '\0';
  html->text(version);
}

void write_head(HtmlWriter* html, const ReportPage& page) {
  html->markup(
      "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><link rel=\"icon\" "
      "href=\"data:,\">"
      "<title>pgleak: session leaks</title><style>\n");
  html->markup(page.style).markup("</style></head><body><h1>Session leaks</h1><p class=\"soft\">");
  html->time_and_zone(page.timeline.period.since).markup(" to ").time_and_zone(page.timeline.period.upto);
  if (page.cluster_name[0] != '\0') html->markup(", ").text(page.cluster_name);
  html->markup(", PostgreSQL ");
  write_version(html, page.server_version);
  html->markup(". Times are in ").text(page.time_zone).markup(".</p>");
}

// Tiles
// ------------------------------------------------------------------------------------------------------

void begin_tile(HtmlWriter* html) { html->markup("<div class=\"tile\"><b>"); }

void end_tile(HtmlWriter* html, const char* label) {
  html->markup("</b><span class=\"soft\">").markup(label).markup("</span></div>");
}

void write_number_tile(HtmlWriter* html, std::int64_t number, const char* label) {
  begin_tile(html);
  html->count(number);
  end_tile(html, label);
}

void write_duration_tile(HtmlWriter* html, Micros duration, Micros least, const char* label) {
  begin_tile(html);
  write_duration_or_dash(html, duration, least);
  end_tile(html, label);
}

void write_tiles(HtmlWriter* html, const ReportTotals& totals) {
  html->markup("<div class=\"tiles\">");
  begin_tile(html);
  html->count(totals.episodes).markup("</b><span class=\"soft\">");
  html->markup(totals.episodes == 1 ? "leak in " : "leaks in ").count(totals.applications);
  html->markup(totals.applications == 1 ? " application</span></div>" : " applications</span></div>");
  write_number_tile(html, totals.open, "still open");
  write_duration_tile(html, totals.longest_idle, Micros{0}, "longest idle");
  write_number_tile(html, totals.blocked, "most blocked by one leak");
  write_duration_tile(html, totals.blocked_for, Micros{1}, "others waited for leaks");
  write_number_tile(html, totals.stopped, "stopped by pgleak");
  html->markup("</div>");
}

// Cells
// ------------------------------------------------------------------------------------------------------

void write_statement(HtmlWriter* html, const char* query) {
  if (query != nullptr) html->markup("<code>").text(query).markup("</code>");
}

// Offenders
// --------------------------------------------------------------------------------------------------

constexpr Column kOffenderColumns[] = {{"Who", ""},
                                       {"Code, route and last statement", "wide"},
                                       {"Episodes", "number"},
                                       {"Longest idle", "number"},
                                       {"Blocked", "number"},
                                       {"Others waited", "number"},
                                       {"Last seen", "time"}};

void write_offender(HtmlWriter* html, const OffenderRow& row) {
  const Column* column = kOffenderColumns;
  html->markup("<tr>");
  write_cell(html, *column++, [&] {
    write_application(html, row.application);
    begin_subtitle(html, row.role, row.database);
    html->markup("</span>");
  });
  write_cell(html, *column++, [&] {
    if (row.code != nullptr) html->markup("<b>").text(row.code).markup("</b> ");
    if (row.route != nullptr && row.code != nullptr) html->text(row.route);
    if (row.route != nullptr && row.code == nullptr) html->markup("<b>").text(row.route).markup("</b>");
    write_statement(html, row.query);
  });
  write_cell(html, *column++, [&] { html->count(row.episodes); });
  write_cell(html, *column++, [&] { write_duration_or_dash(html, row.longest_idle, Micros{0}); });
  write_cell(html, *column++, [&] { html->number(row.blocked); });
  write_cell(html, *column++, [&] { write_duration_or_dash(html, row.blocked_for, Micros{1}); });
  write_cell(html, *column++, [&] { html->time(row.last_seen); });
  html->markup("</tr>");
}

void write_offenders(HtmlWriter* html, const TableRows<OffenderRow>& offenders) {
  html->markup("<h2>Who leaked</h2>");
  if (offenders.count == 0) {
    html->markup("<p class=\"soft\">No session leaked.</p>");
    return;
  }
  begin_table(html, kOffenderColumns);
  for (int i = 0; i < offenders.count; i++) write_offender(html, offenders.rows[i]);
  end_table(html);
}

// Actions
// ----------------------------------------------------------------------------------------------------

constexpr Column kActionColumns[] = {
    {"When", "time"}, {"Action", ""}, {"Who", ""}, {"Last statement", "wide"}};

void write_action(HtmlWriter* html, const ActionRow& row) {
  const Column* column = kActionColumns;
  html->markup("<tr>");
  write_cell(html, *column++, [&] { html->time(row.at); });
  write_cell(html, *column++, [&] { html->text(row.action); });
  write_cell(html, *column++, [&] {
    write_application(html, row.application);
    begin_subtitle(html, row.role, row.database);
    html->markup(", pid ").number(row.pid).markup("</span>");
  });
  write_cell(html, *column++, [&] { write_statement(html, row.query); });
  html->markup("</tr>");
}

void write_actions(HtmlWriter* html, const ReportPage& page) {
  html->markup("<h2>What pgleak did</h2>");
  if (page.actions.count == 0) {
    html->markup("<p class=\"soft\">Nothing: pgleak only watched.</p>");
    return;
  }
  html->markup("<p>");
  for (int i = 0; i < page.action_counts.count; i++) {
    const ActionCountRow& row = page.action_counts.rows[i];
    html->markup(i > 0 ? ", " : "").count(row.count).markup(" &times; ").text(row.action);
  }
  html->markup(".</p>");
  begin_table(html, kActionColumns);
  for (int i = 0; i < page.actions.count; i++) write_action(html, page.actions.rows[i]);
  end_table(html);
}

}  // namespace

void write_report(HtmlWriter* html, ReportPage* page) {
  write_head(html, *page);
  write_tiles(html, page->totals);
  html->markup("<h2>When</h2>");
  write_legend(html);
  write_timeline(html, &page->timeline);
  write_offenders(html, page->offenders);
  write_courses(html, page->courses);
  write_horizon(html, page->timeline.period, page->horizon);
  write_pools(html, page->timeline.period, page->pools);
  write_actions(html, *page);
  html->markup("</body></html>");
}

}  // namespace pgleak
