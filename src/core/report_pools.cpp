#include "core/report_pools.hpp"

#include <algorithm>
#include <cstring>

namespace pgleak {

namespace {

// Over time
// --------------------------------------------------------------------------------------------------

constexpr Column kChangeColumns[] = {{"When", "time"},     {"Pool", ""},         {"Verdict", ""},
                                     {"Before", ""},       {"In use", "number"}, {"Leaked", "number"},
                                     {"Waiting", "number"}};

// A change and whose it is.
struct NamedChange {
  const PoolName* name;
  const ChangedVerdict* change;
};

void write_verdict(HtmlWriter* html, const PoolPoint& point) {
  html->markup("<span class=\"verdict ").markup(to_string(point.verdict)).markup("\">");
  html->markup(point.verdict == SampledVerdict::kNone && point.size == 0 ? "closed"
                                                                         : to_string(point.verdict));
  html->markup("</span>");
}

void write_change(HtmlWriter* html, const NamedChange& row) {
  const PoolPoint& point = row.change->point;
  const Column* column = kChangeColumns;
  html->markup("<tr>");
  write_cell(html, *column++, [&] { html->time(row.change->at); });
  write_cell(html, *column++, [&] { write_pool_name(html, *row.name); });
  write_cell(html, *column++, [&] { write_verdict(html, point); });
  write_cell(html, *column++, [&] {
    html->markup(row.change->is_before_known ? to_string(row.change->before) : "no sample");
  });
  write_cell(html, *column++, [&] {
    write_number_or_dash(html, point.in_use, "");
    if (point.size != kNotKnown) html->markup(" of ").number(point.size);
  });
  write_cell(html, *column++, [&] { write_number_or_dash(html, point.leaked, ""); });
  write_cell(html, *column++, [&] { write_number_or_dash(html, point.waiting, ""); });
  html->markup("</tr>");
}

// In the order of time over all pools, because one pool often drags the next one in.
void write_changes(HtmlWriter* html, const PoolsSection& section) {
  NamedChange changes[kMostPoolCurves * (kFirstChanges + kLastChanges)];
  int count = 0;
  std::int64_t left_out = 0;
  for (int i = 0; i < section.curve_count; i++) {
    const PoolCurve& curve = section.curves.curve(i);
    left_out += curve.changes() - curve.kept_changes();
    for (int j = 0; j < curve.kept_changes(); j++)
      changes[count++] = NamedChange{&section.names[i], &curve.change(j)};
  }
  if (count == 0) {
    html->markup("<p class=\"soft\">No verdict changed in this period.</p>");
    return;
  }
  std::sort(changes, changes + count, [](const NamedChange& a, const NamedChange& b) {
    return a.change->at != b.change->at ? a.change->at < b.change->at : a.name < b.name;
  });
  html->markup("<h3>When verdicts changed</h3>");
  begin_table(html, kChangeColumns);
  for (int i = 0; i < count; i++) write_change(html, changes[i]);
  end_table(html);
  if (left_out > 0) {
    html->markup("<p class=\"soft\">").count(left_out);
    html->markup(left_out == 1 ? " change is" : " changes are");
    html->markup(" left out: of each pool, the table has the first and the last four.</p>");
  }
}

void write_curves(HtmlWriter* html, const ReportPeriod& period, const PoolsSection& section) {
  const Ticks ticks = find_ticks(period, html->to_local_time());
  write_pool_legend(html);
  for (int i = 0; i < section.curve_count; i++)
    write_pool_chart(html, period, section.names[i], section.curves, i, ticks);
  write_axis(html, period, ticks);
  if (section.in_trouble > section.curve_count) {
    html->markup("<p class=\"soft\">These are the worst ");
    html->count(section.curve_count).markup(" of ").count(section.in_trouble);
    html->markup(" pools that were in trouble.</p>");
  }
}

void write_over_time(HtmlWriter* html, const ReportPeriod& period, const PoolsSection& section) {
  html->markup("<h2>Pools in trouble</h2>");
  if (section.curves.samples() == 0) {
    html->markup("<p class=\"soft\">No sample was taken in this period.</p>");
  } else if (section.curve_count == 0) {
    html->markup("<p class=\"soft\">Every pool was fine whenever a sample was taken.</p>");
  } else {
    write_curves(html, period, section);
    write_changes(html, section);
  }
}

// At the time of the report
// --------------------------------------------------------------------------------------------------

constexpr Column kPoolColumns[] = {{"Pool", ""},         {"Connections", "number"}, {"In use", "number"},
                                   {"Leaked", "number"}, {"Waiting", "number"},     {"Capacity", "number"},
                                   {"Verdict", ""},      {"Advice", "wide"}};

void write_pool(HtmlWriter* html, const PoolRow& row) {
  const Column* column = kPoolColumns;
  html->markup("<tr>");
  write_cell(html, *column++, [&] { write_pool_name(html, row.name); });
  write_cell(html, *column++, [&] { html->number(row.connections); });
  write_cell(html, *column++, [&] { write_number_or_dash(html, row.in_use_percent, " %"); });
  write_cell(html, *column++, [&] { html->number(row.leaked); });
  write_cell(html, *column++, [&] { write_number_or_dash(html, row.waiting, ""); });
  write_cell(html, *column++, [&] { write_number_or_dash(html, row.capacity, ""); });
  write_cell(html, *column++, [&] {
    html->markup("<span class=\"verdict ").text(row.verdict).markup("\">");
    html->text(row.verdict == nullptr ? "-" : row.verdict).markup("</span>");
  });
  write_cell(html, *column++, [&] { html->text(row.advice); });
  html->markup("</tr>");
}

void write_now(HtmlWriter* html, const TableRows<PoolRow>& pools) {
  html->markup("<h2>Pools at the time of this report</h2>");
  if (pools.count == 0) {
    html->markup("<p class=\"soft\">No session has been counted yet.</p>");
    return;
  }
  begin_table(html, kPoolColumns);
  for (int i = 0; i < pools.count; i++) write_pool(html, pools.rows[i]);
  end_table(html);
}

}  // namespace

PoolName::Scope pool_scope_of(const char* name) {
  if (std::strcmp(name, "server") == 0) return PoolName::Scope::kServer;
  if (std::strcmp(name, "application") == 0) return PoolName::Scope::kApplication;
  return std::strcmp(name, "other") == 0 ? PoolName::Scope::kOther : PoolName::Scope::kPool;
}

void write_application(HtmlWriter* html, const char* application) {
  html->text(application[0] == '\0' ? "(no application_name)" : application);
}

void begin_subtitle(HtmlWriter* html, const char* role, const char* database) {
  html->markup("<br><span class=\"soft\">").text(role).markup("@").text(database);
}

void write_number_or_dash(HtmlWriter* html, std::int64_t number, const char* unit) {
  if (number == kNoNumber)
    html->markup("-");
  else
    html->number(number).markup(unit);
}

void write_pool_name(HtmlWriter* html, const PoolName& name) {
  if (name.scope == PoolName::Scope::kServer) {
    html->markup("<b>the whole server</b>");
    return;
  }
  if (name.scope == PoolName::Scope::kOther) {
    html->markup("all other pools");
    return;
  }
  write_application(html, name.application);
  begin_subtitle(html, name.role, name.database);
  if (name.scope == PoolName::Scope::kApplication) html->markup(", all addresses");
  if (name.client_address != nullptr) html->markup(", ").text(name.client_address);
  html->markup("</span>");
}

void write_pools(HtmlWriter* html, const ReportPeriod& period, const PoolsSection& section) {
  write_over_time(html, period, section);
  write_now(html, section.now);
}

}  // namespace pgleak
