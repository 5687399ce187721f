// The tables of the report: their heads, and cells that repeat the name of their column where the screen is
// too narrow for a table. Pure. Never ereports itself; the writer's sink may.
#ifndef PGLEAK_CORE_REPORT_TABLE_HPP
#define PGLEAK_CORE_REPORT_TABLE_HPP

#include <cstdint>

#include "core/html.hpp"

namespace pgleak {

inline constexpr int kMostTableRows = 20;
inline constexpr std::int64_t kNoNumber = -1;  // a number or a duration that there is none of

// The rows of a table, in the order in which they are shown.
template <typename Row>
struct TableRows {
  int count;
  Row rows[kMostTableRows];
};

// The head of a column. Trusted.
struct Column {
  const char* name;
  const char* css_class;  // empty for none
};

inline void write_class(HtmlWriter* html, const Column& column) {
  if (column.css_class[0] != '\0') html->markup(" class=\"").markup(column.css_class).markup("\"");
}

template <int count>
void begin_table(HtmlWriter* html, const Column (&columns)[count]) {
  html->markup("<table><thead><tr>");
  for (const Column& column : columns) {
    html->markup("<th");
    write_class(html, column);
    html->markup(">").markup(column.name).markup("</th>");
  }
  html->markup("</tr></thead><tbody>");
}

inline void end_table(HtmlWriter* html) { html->markup("</tbody></table>"); }

// Writes one cell; `write_value` writes what is in it.
template <typename WriteValue>
void write_cell(HtmlWriter* html, const Column& column, WriteValue write_value) {
  html->markup("<td data-label=\"").markup(column.name).markup("\"");
  write_class(html, column);
  html->markup("><div>");
  write_value();
  html->markup("</div></td>");
}

inline void write_duration_or_dash(HtmlWriter* html, Micros duration, Micros least) {
  if (duration < least)
    html->markup("-");
  else
    html->duration(duration);
}

}  // namespace pgleak

#endif
