// HTML from untrusted bytes: no byte of a text can become markup, none is lost, and durations and times read
// as pgleak.format_duration() and to_char() write them.
#include "core/html.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "report_samples.hpp"

namespace pgleak {
namespace {

std::string text(const std::string& bytes) {
  return written([&](HtmlWriter* html) { html->text(bytes.c_str()); });
}

std::string duration(Micros micros) {
  return written([&](HtmlWriter* html) { html->duration(micros); });
}

std::string time(WallTime at, ToLocalTime zone) {
  return written([&](HtmlWriter* html) { html->time_and_zone(at); }, zone);
}

TEST(HtmlTest, MarkupPassesAsItIs) {
  EXPECT_EQ(written([](HtmlWriter* html) { html->markup("<b>").markup("&amp;").markup("</b>"); }),
            "<b>&amp;</b>");
}

TEST(HtmlTest, TextCannotBecomeMarkup) {
  EXPECT_EQ(text("<script>alert('x')</script>&\""),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;");
  EXPECT_EQ(text("]]>--><!--"), "]]&gt;--&gt;&lt;!--");
}

TEST(HtmlTest, NoTextIsEmpty) {
  EXPECT_EQ(written([](HtmlWriter* html) { html->text(nullptr).text(""); }), "");
}

TEST(HtmlTest, EachByteHasOneMeaning) {
  for (int byte = 1; byte < 256; byte++) {
    const std::string one(1, static_cast<char>(byte));
    const std::string shown = text("a" + one + "b");
    ASSERT_EQ(shown.front(), 'a');
    ASSERT_EQ(shown.back(), 'b');
    const std::string middle = shown.substr(1, shown.size() - 2);
    const bool is_control = (byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7F;
    if (std::string("&<>\"'").find(one) != std::string::npos) {
      EXPECT_EQ(middle.front(), '&') << byte;
      EXPECT_EQ(middle.back(), ';') << byte;
    } else {
      EXPECT_EQ(middle, is_control ? "?" : one) << byte;
    }
  }
}

// Invalid UTF-8, a character that is cut, Latin-1: the bytes pass, the markup after them is escaped all the
// same.
TEST(HtmlTest, BytesOfOtherEncodingsPass) {
  EXPECT_EQ(text("\xC3\xA9"), "\xC3\xA9");
  EXPECT_EQ(text("\xC3<b>"), "\xC3&lt;b&gt;");
  EXPECT_EQ(text("\xFF\xFE\x80>"), "\xFF\xFE\x80&gt;");
}

TEST(HtmlTest, NumbersAreExact) {
  EXPECT_EQ(written([](HtmlWriter* html) {
              html->number(0).markup(" ").number(-12).markup(" ").number(INT64_MIN);
            }),
            "0 -12 -9223372036854775808");
  EXPECT_EQ(
      written([](HtmlWriter* html) { html->tenths(0).markup(" ").tenths(125).markup(" ").tenths(10000); }),
      "0 12.5 1000");
}

TEST(HtmlTest, CountsHaveGroupsOfThreeDigits) {
  EXPECT_EQ(written([](HtmlWriter* html) {
              html->count(0).markup(" ").count(999).markup(" ").count(1000).markup(" ").count(-1234567);
            }),
            "0 999 1,000 -1,234,567");
  EXPECT_EQ(written([](HtmlWriter* html) { html->count(INT64_MIN); }), "-9,223,372,036,854,775,808");
}

TEST(HtmlTest, DurationsHaveTwoUnits) {
  EXPECT_EQ(duration(Micros{0}), "0.0s");
  EXPECT_EQ(duration(-kSecond), "0.0s");
  EXPECT_EQ(duration(40 * kMillisecond), "0.0s");
  EXPECT_EQ(duration(9990 * kMillisecond), "9.9s");
  EXPECT_EQ(duration(59900 * kMillisecond), "59s");
  EXPECT_EQ(duration(61 * kSecond), "1m 1s");
  EXPECT_EQ(duration(3599 * kSecond), "59m 59s");
  EXPECT_EQ(duration(3600 * kSecond), "1h 0m");
  EXPECT_EQ(duration(25 * 3600 * kSecond), "1d 1h");
  EXPECT_EQ(duration(40 * 86400 * kSecond), "40d 0h");
  EXPECT_EQ(duration(kForever), "106751991d 4h");
}

TEST(HtmlTest, TimesAreLocal) {
  EXPECT_EQ(written([](HtmlWriter* html) { html->time(at(2026, 1, 31, 23, 59, 58)); }, kolkata),
            "2026-02-01 05:29:58");
}

TEST(HtmlTest, TimesHaveTheirZoneWhereAsked) {
  EXPECT_EQ(time(at(2026, 1, 31, 23, 59, 58), utc), "2026-01-31 23:59:58&#160;UTC+00");
  EXPECT_EQ(time(at(2026, 1, 31, 23, 59, 58), kolkata), "2026-02-01 05:29:58&#160;UTC+05:30");
  EXPECT_EQ(time(at(2026, 1, 31, 23, 59, 58), newfoundland), "2026-01-31 20:29:58&#160;UTC-03:30");
}

}  // namespace
}  // namespace pgleak
