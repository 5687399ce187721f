// Tests of core/text: whatever bytes a client sends, a log line stays one line of valid UTF-8 from which the
// bytes can be read back, and no buffer is ever written past its end.
#include "core/text.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "samples.hpp"

namespace pgleak {
namespace {

using testing::PrintToString;

// --- a second opinion on UTF-8, by decoding ---

constexpr std::uint32_t kInvalid = UINT32_MAX;

// The code point of `bytes` if they are exactly one character, encoded as RFC 3629 allows.
std::uint32_t decode(const std::string& bytes) {
  const std::size_t n = bytes.size();
  if (n < 1 || n > 4) return kInvalid;
  const auto at = [&bytes](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i]));
  };
  if (n == 1) return at(0) < 0x80 ? at(0) : kInvalid;

  const std::uint32_t lead_mark[] = {0, 0, 0xC0, 0xE0, 0xF0};
  const std::uint32_t lead_bits[] = {0, 0, 0x1F, 0x0F, 0x07};
  const std::uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if ((at(0) & ~lead_bits[n]) != lead_mark[n]) return kInvalid;
  std::uint32_t point = at(0) & lead_bits[n];
  for (std::size_t i = 1; i < n; i++) {
    if ((at(i) & 0xC0) != 0x80) return kInvalid;
    point = point << 6 | (at(i) & 0x3F);
  }
  const bool is_surrogate = point >= 0xD800 && point <= 0xDFFF;
  return point < smallest[n] || point > 0x10FFFF || is_surrogate ? kInvalid : point;
}

std::string encode(std::uint32_t point) {
  const auto byte = [](std::uint32_t value) { return static_cast<char>(static_cast<unsigned char>(value)); };
  if (point < 0x80) return {byte(point)};
  if (point < 0x800) return {byte(0xC0 | point >> 6), byte(0x80 | (point & 0x3F))};
  if (point < 0x10000)
    return {byte(0xE0 | point >> 12), byte(0x80 | (point >> 6 & 0x3F)), byte(0x80 | (point & 0x3F))};
  return {byte(0xF0 | point >> 18), byte(0x80 | (point >> 12 & 0x3F)), byte(0x80 | (point >> 6 & 0x3F)),
          byte(0x80 | (point & 0x3F))};
}

// Length of the character at the start of `text`, 0 if there is none.
int expected_length(const std::string& text) {
  for (std::size_t n = 1; n <= 4 && n <= text.size(); n++) {
    if (decode(text.substr(0, n)) != kInvalid) return static_cast<int>(n);
  }
  return 0;
}

// --- what the product writes, and back ---

std::string escaped(const std::string& text, bool quoted) {
  std::vector<char> buffer(text.size() * 4 + 1);
  TextBuffer out(buffer.data(), buffer.size());
  out.append_escaped(text.c_str(), quoted);
  EXPECT_EQ(out.length(), std::strlen(out.c_str()));
  return out.c_str();
}

std::string pair(const char* key, const std::string& value) {
  std::vector<char> buffer(std::strlen(key) + value.size() * 4 + 4);
  TextBuffer out(buffer.data(), buffer.size());
  out.append_pair(key, value.c_str());
  return out.c_str();
}

std::string seconds(Micros duration) {
  char buffer[64];
  TextBuffer out(buffer, sizeof(buffer));
  out.append_seconds(duration);
  return out.c_str();
}

// Reads back what append_escaped() wrote. Fails the test at anything it never writes.
std::string unescape(const std::string& text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); i++) {
    if (text[i] != '\\') {
      result += text[i];
      continue;
    }
    const char kind = i + 1 < text.size() ? text[i + 1] : '\0';
    i++;
    if (kind == 'n') {
      result += '\n';
    } else if (kind == 'r') {
      result += '\r';
    } else if (kind == 't') {
      result += '\t';
    } else if (kind == '\\' || kind == '"') {
      result += kind;
    } else if (kind == 'x' && i + 2 < text.size()) {
      const std::string hex = text.substr(i + 1, 2);
      EXPECT_EQ(hex.find_first_not_of("0123456789ABCDEF"), std::string::npos) << PrintToString(text);
      result += static_cast<char>(std::stoi(hex, nullptr, 16));
      i += 2;
    } else {
      ADD_FAILURE() << "unknown or cut escape in " << PrintToString(text);
      return result;
    }
  }
  return result;
}

// True if `line` is valid UTF-8 without a single control character.
bool is_harmless(const std::string& line) {
  for (std::size_t i = 0; i < line.size();) {
    const int length = expected_length(line.substr(i, 4));
    if (length == 0) return false;
    const std::uint32_t point = decode(line.substr(i, static_cast<std::size_t>(length)));
    if (point < 0x20 || (point >= 0x7F && point < 0xA0)) return false;
    i += static_cast<std::size_t>(length);
  }
  return true;
}

std::string all_bytes() {
  std::string text;
  for (int byte = 1; byte <= 255; byte++) text += static_cast<char>(byte);
  return text;
}

// Text with one of each kind that is treated differently.
const char kMixedText[] =
    "ab\xC3\xA9\xE2\x82\xAC\xF0\x9F\x92\xA7\n\"\\=\x01\xFF\xC2\x85 \xE2\x82z\t\r\x7F\xED\xA0\x80 end";

// --- UTF-8 ---

TEST(Utf8Test, EveryCodePointHasItsLength) {
  for (std::uint32_t point = 0; point <= 0x10FFFF; point++) {
    const std::string bytes = encode(point);
    const bool is_surrogate = point >= 0xD800 && point <= 0xDFFF;
    const int length = is_surrogate ? 0 : static_cast<int>(bytes.size());
    ASSERT_EQ(utf8_character_length(bytes.c_str()), length) << std::hex << point;
  }
}

TEST(Utf8Test, AgreesWithADecoderAtEveryBoundary) {
  const unsigned char kBoundaries[] = {0x00, 0x01, 0x7F, 0x80, 0x81, 0x8F, 0x90, 0x9F, 0xA0, 0xBE, 0xBF,
                                       0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF};
  for (int b0 = 1; b0 <= 255; b0++) {
    for (const unsigned char b1 : kBoundaries) {
      for (const unsigned char b2 : kBoundaries) {
        for (const unsigned char b3 : kBoundaries) {
          const char text[] = {static_cast<char>(b0), static_cast<char>(b1), static_cast<char>(b2),
                               static_cast<char>(b3), '\0'};
          ASSERT_EQ(utf8_character_length(text), expected_length(std::string(text, 4)))
              << PrintToString(std::string(text, 4));
        }
      }
    }
  }
}

TEST(Utf8Test, WhatIsNoCharacterHasNoLength) {
  struct {
    const char* meaning;
    const char* text;
  } const cases[] = {
      {"continuation byte alone", "\x80"},
      {"continuation byte alone, the last", "\xBF"},
      {"overlong slash, two bytes", "\xC0\xAF"},
      {"overlong DEL, two bytes", "\xC1\xBF"},
      {"overlong slash, three bytes", "\xE0\x80\xAF"},
      {"overlong U+07FF", "\xE0\x9F\xBF"},
      {"overlong slash, four bytes", "\xF0\x80\x80\xAF"},
      {"overlong U+FFFF", "\xF0\x8F\xBF\xBF"},
      {"first surrogate", "\xED\xA0\x80"},
      {"last surrogate", "\xED\xBF\xBF"},
      {"surrogate pair (CESU-8)", "\xED\xA0\xBD\xED\xB2\xA9"},
      {"above U+10FFFF", "\xF4\x90\x80\x80"},
      {"five bytes", "\xF8\x88\x80\x80\x80"},
      {"never a byte of UTF-8", "\xFE"},
      {"never a byte of UTF-8 either", "\xFF"},
      {"cut after one byte of two", "\xC3"},
      {"cut after one byte of three", "\xE2"},
      {"cut after two bytes of three", "\xE2\x82"},
      {"cut after one byte of four", "\xF0"},
      {"cut after two bytes of four", "\xF0\x9F"},
      {"cut after three bytes of four", "\xF0\x9F\x92"},
      {"cut by an ASCII letter", "\xE2\x82z"},
      {"cut by another character", "\xF0\x9F\x92\xC3\xA9"},
  };
  for (const auto& c : cases) EXPECT_EQ(utf8_character_length(c.text), 0) << c.meaning;
}

TEST(Utf8Test, ATextThatIsCutIsNotReadPastItsEnd) {
  // The text ends at the end of the mapped memory.
  const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* memory = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  char* const end = static_cast<char*>(memory) + page;
  ASSERT_EQ(mprotect(end, page, PROT_NONE), 0);

  for (const char* text : {"", "a", "\xC3", "\xE2", "\xE2\x82", "\xED", "\xF0", "\xF0\x9F", "\xF0\x9F\x92",
                           "\xF4", "\xFF", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x92\xA7"}) {
    const std::size_t size = std::strlen(text) + 1;
    char* const at_the_end = end - size;
    std::memcpy(at_the_end, text, size);
    EXPECT_EQ(utf8_character_length(at_the_end), expected_length(std::string(text, size)));

    char buffer[64];
    TextBuffer out(buffer, sizeof(buffer));
    out.append_escaped(at_the_end, true);
    out.append_pair("key", at_the_end);
    out.append(at_the_end);
  }
  munmap(memory, 2 * page);
}

// --- escaping ---

TEST(EscapeTest, EveryByteAloneIsWrittenAsTheRulesSay) {
  for (int value = 1; value <= 255; value++) {
    for (const bool quoted : {false, true}) {
      const char byte = static_cast<char>(value);
      char hex[8];
      std::snprintf(hex, sizeof(hex), "\\x%02X", static_cast<unsigned>(value));
      std::string expected(1, byte);
      if (value < 0x20 || value >= 0x7F) expected = hex;
      if (byte == '\n') expected = "\\n";
      if (byte == '\r') expected = "\\r";
      if (byte == '\t') expected = "\\t";
      if (byte == '\\') expected = "\\\\";
      if (byte == '"' && quoted) expected = "\\\"";
      EXPECT_EQ(escaped(std::string(1, byte), quoted), expected) << value;
    }
  }
}

TEST(EscapeTest, TheTextEndsAtItsNul) {
  char buffer[64];
  TextBuffer out(buffer, sizeof(buffer));
  out.append_escaped("", true);
  EXPECT_STREQ(out.c_str(), "");
  out.append_escaped("ab\0cd", true);
  EXPECT_STREQ(out.c_str(), "ab");
}

TEST(EscapeTest, ValidCharactersStayAsTheyAre) {
  const std::string text = "select 'é', '€', '💧', '￿', '\xF4\x8F\xBF\xBF' -- ça \xC2\xA0";
  EXPECT_EQ(escaped(text, false), text);
}

TEST(EscapeTest, TheC1ControlsAreEscapedThoughTheyAreValidUtf8) {
  for (std::uint32_t point = 0x80; point <= 0xBF; point++) {
    const std::string character = encode(point);
    char hex[16];
    std::snprintf(hex, sizeof(hex), "\\xC2\\x%02X", point);
    EXPECT_EQ(escaped(character, false), point < 0xA0 ? hex : character) << std::hex << point;
  }
}

TEST(EscapeTest, ACharacterThatOnlyLooksLikeAC1ControlStays) {
  EXPECT_EQ(escaped("\xC3\x85\xE2\x82\x85", false), "\xC3\x85\xE2\x82\x85") << "Å and subscript five";
}

TEST(EscapeTest, ABrokenCharacterIsEscapedByteByByteAndTheRestGoesOn) {
  EXPECT_EQ(escaped("a\xE2\x82z", false), "a\\xE2\\x82z");
  EXPECT_EQ(escaped("caf\xE9 au lait", false), "caf\\xE9 au lait") << "LATIN1";
  EXPECT_EQ(escaped("\xC0\xAF", false), "\\xC0\\xAF");
  EXPECT_EQ(escaped("\xED\xA0\x80", false), "\\xED\\xA0\\x80");
  EXPECT_EQ(escaped("\xF0\x9F\x92\xC3\xA9", false), "\\xF0\\x9F\\x92\xC3\xA9");
  EXPECT_EQ(escaped("\xE2\n", false), "\\xE2\\n");
  EXPECT_EQ(escaped("\xE2\\", false), "\\xE2\\\\");
  EXPECT_EQ(escaped("\xE2\"", true), "\\xE2\\\"");
}

TEST(EscapeTest, ATextThatPretendsToBeEscapedIsNotTakenForIt) {
  EXPECT_EQ(escaped("\\n", false), "\\\\n");
  EXPECT_EQ(escaped("\\x0A", false), "\\\\x0A");
}

TEST(EscapeTest, ATerminalGetsNoCommands) {
  EXPECT_EQ(escaped("\x1B[2J\x1B]0;owned\x07", false), "\\x1B[2J\\x1B]0;owned\\x07");
  EXPECT_EQ(escaped("\xC2\x9B"
                    "2J",
                    false),
            "\\xC2\\x9B"
            "2J")
      << "CSI in one character";
  EXPECT_EQ(escaped("\x9B"
                    "2J",
                    false),
            "\\x9B"
            "2J")
      << "CSI in one byte";
}

// Every text can be read back from its escaped form: nothing is lost, and no two texts look the same.
class RoundTripTest : public testing::TestWithParam<bool> {
 protected:
  void check(const std::string& text) {
    const std::string line = escaped(text, GetParam());
    ASSERT_EQ(unescape(line), text) << PrintToString(line);
    ASSERT_TRUE(is_harmless(line)) << PrintToString(line);
  }
};

TEST_P(RoundTripTest, AllBytesInARow) { check(all_bytes()); }

TEST_P(RoundTripTest, EveryTwoBytes) {
  for (int a = 1; a <= 255; a++) {
    for (int b = 1; b <= 255; b++)
      ASSERT_NO_FATAL_FAILURE(check({static_cast<char>(a), static_cast<char>(b)}));
  }
}

TEST_P(RoundTripTest, EveryFourOfTheBytesThatMatter) {
  const char kBytes[] = {'\n',   ' ',    '"',    '\\',   'n',    'x',    '\x7F', '\x80', '\x9F',
                         '\xA0', '\xBF', '\xC2', '\xC3', '\xE0', '\xED', '\xF0', '\xF4', '\xFF'};
  for (const char a : kBytes) {
    for (const char b : kBytes) {
      for (const char c : kBytes) {
        for (const char d : kBytes) ASSERT_NO_FATAL_FAILURE(check({a, b, c, d}));
      }
    }
  }
}

TEST_P(RoundTripTest, EveryCharacterOfTheBasicPlane) {
  for (std::uint32_t point = 1; point <= 0xFFFF; point++) ASSERT_NO_FATAL_FAILURE(check(encode(point)));
}

INSTANTIATE_TEST_SUITE_P(QuotedOrNot, RoundTripTest, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& instance) {
                           return instance.param ? "quoted" : "plain";
                         });

// --- pairs ---

TEST(PairTest, OnlyAValueThatNeedsQuotesGetsThem) {
  struct {
    const char* value;
    const char* line;
  } const cases[] = {
      {"api", "application=api"},
      {"idle-in_transaction:5.2/x@y,z;{}[]()'`~!#$%^&*|<>?+",
       "application=idle-in_transaction:5.2/x@y,z;{}[]()'`~!#$%^&*|<>?+"},
      {"Zoë", "application=Zoë"},
      {"💧", "application=💧"},
      {"", "application=\"\""},
      {" ", "application=\" \""},
      {"my api", "application=\"my api\""},
      {"trailing ", "application=\"trailing \""},
      {"a=b", "application=\"a=b\""},
      {"\"", "application=\"\\\"\""},
      {"say \"hi\"", "application=\"say \\\"hi\\\"\""},
      {"C:\\temp", "application=\"C:\\\\temp\""},
      {"\\", "application=\"\\\\\""},
      {"two\nlines", "application=\"two\\nlines\""},
      {"tab\there", "application=\"tab\\there\""},
      {"\r", "application=\"\\r\""},
      {"\x01", "application=\"\\x01\""},
      {"\x7F", "application=\"\\x7F\""},
      {"caf\xE9", "application=\"caf\\xE9\""},
      {"cut\xE2\x82", "application=\"cut\\xE2\\x82\""},
      {"\xC2\x85next line", "application=\"\\xC2\\x85next line\""},
      {"\xC2\x85", "application=\"\\xC2\\x85\""},
      {"x\" pid=1 role=\"postgres", "application=\"x\\\" pid=1 role=\\\"postgres\""},
      {"x\n2026-01-01 LOG:  pgleak: session leak: pid=1",
       "application=\"x\\n2026-01-01 LOG:  pgleak: session leak: pid=1\""},
  };
  for (const auto& c : cases) EXPECT_EQ(pair("application", c.value), c.line);
}

TEST(PairTest, EveryByteAloneIsQuotedExactlyIfItIsNotPlain) {
  for (int value = 1; value <= 255; value++) {
    const char byte = static_cast<char>(value);
    const bool plain = value > 0x20 && value < 0x7F && byte != '"' && byte != '\\' && byte != '=';
    const std::string line = pair("k", std::string(1, byte));
    EXPECT_EQ(line[2] != '"', plain) << value;
  }
}

// A strict reader of logfmt: splits `line` into its first value and the rest after it.
bool read_value(const std::string& line, std::string* value, std::string* rest) {
  std::size_t i = line.find('=') + 1;
  if (line[i] != '"') {
    const std::size_t end = std::min(line.find(' ', i), line.size());
    *value = line.substr(i, end - i);
    *rest = line.substr(end);
    return value->find_first_of("\"=\\") == std::string::npos;
  }
  std::size_t end = i + 1;
  while (end < line.size() && line[end] != '"') end += line[end] == '\\' ? 2 : 1;
  if (end >= line.size()) return false;
  *value = unescape(line.substr(i + 1, end - i - 1));
  *rest = line.substr(end + 1);
  return true;
}

TEST(PairTest, NoValueReachesBeyondItsPair) {
  std::vector<std::string> values = {"", kMixedText, all_bytes(), "\\", "\\\"", "\" pid=1", "a\\"};
  const char kBytes[] = {' ', '"', '\\', '=', 'a', '\n', '\xC3', '\xA9'};
  for (const char a : kBytes) {
    for (const char b : kBytes) {
      for (const char c : kBytes) values.push_back({a, b, c});
    }
  }
  for (const std::string& expected : values) {
    std::vector<char> buffer(expected.size() * 4 + 32);
    TextBuffer out(buffer.data(), buffer.size());
    out.append_pair("application", expected.c_str());
    out.append(" pid=4711");
    std::string value;
    std::string rest;
    ASSERT_TRUE(read_value(out.c_str(), &value, &rest)) << PrintToString(out.c_str());
    EXPECT_EQ(value, expected);
    EXPECT_EQ(rest, " pid=4711");
  }
}

// --- numbers and durations ---

TEST(NumberTest, IsWrittenInFull) {
  struct {
    std::int64_t number;
    const char* text;
  } const cases[] = {
      {0, "0"},
      {7, "7"},
      {10, "10"},
      {-1, "-1"},
      {-10, "-10"},
      {4711, "4711"},
      {INT32_MAX, "2147483647"},
      {INT64_MAX, "9223372036854775807"},
      {INT64_MIN, "-9223372036854775808"},
  };
  for (const auto& c : cases) {
    char buffer[64];
    TextBuffer out(buffer, sizeof(buffer));
    out.append_number(c.number);
    EXPECT_STREQ(out.c_str(), c.text);
  }
}

TEST(NumberTest, IsNeverCut) {
  for (std::size_t size = 1; size <= 8; size++) {
    char buffer[8];
    TextBuffer out(buffer, size);
    out.append_number(-1234);
    EXPECT_STREQ(out.c_str(), size > 5 ? "-1234" : "") << size;
  }
}

TEST(SecondsTest, HaveAtMostThreeDecimalsAndNoTrailingZeros) {
  struct {
    Micros duration;
    const char* text;
  } const cases[] = {
      {0_us, "0s"},
      {1_us, "0s"},
      {999_us, "0s"},
      {kMillisecond, "0.001s"},
      {kMillisecond + 999_us, "0.001s"},
      {10 * kMillisecond, "0.01s"},
      {12 * kMillisecond, "0.012s"},
      {100 * kMillisecond, "0.1s"},
      {120 * kMillisecond, "0.12s"},
      {123 * kMillisecond, "0.123s"},
      {999 * kMillisecond, "0.999s"},
      {kSecond - 1_us, "0.999s"},
      {kSecond, "1s"},
      {2 * kSecond, "2s"},
      {2 * kSecond + 3 * kMillisecond, "2.003s"},
      {10 * kSecond, "10s"},
      {60 * kSecond + 500 * kMillisecond, "60.5s"},
      {86400 * kSecond + 40 * kMillisecond, "86400.04s"},
      {kForever, "9223372036854.775s"},
  };
  for (const auto& c : cases) EXPECT_EQ(seconds(c.duration), c.text) << c.duration;
}

TEST(SecondsTest, EveryMillisecondReadsBack) {
  for (int ms = 0; ms < 3000; ms++) {
    const std::string text = seconds(ms * kMillisecond);
    EXPECT_EQ(static_cast<int>(std::stod(text) * 1000 + 0.5), ms) << text;
    EXPECT_LE(text.size(), sizeof("2.999s") - 1);
    EXPECT_EQ(text.back(), 's');
  }
}

TEST(SecondsTest, BelowZeroAreReadableToo) {
  EXPECT_EQ(seconds(-1_us), "0s");
  EXPECT_EQ(seconds(-kSecond), "-1s");
  EXPECT_EQ(seconds(-1500 * kMillisecond), "-1.5s");
  EXPECT_EQ(seconds(-500 * kMillisecond), "-0.5s");
  EXPECT_EQ(seconds(Micros{INT64_MIN}), "-9223372036854.775s");
}

// --- buffers of every size ---

// Calls write() with a buffer of each size from 1 to one that is certainly large enough, and check(text,
// size) on the result. The bytes around the buffer must stay unchanged.
void at_every_size(std::size_t enough, const std::function<void(TextBuffer*)>& write,
                   const std::function<void(const std::string&, std::size_t)>& check) {
  constexpr std::size_t kMargin = 16;
  constexpr char kCanary = '\x5A';
  for (std::size_t size = 1; size <= enough; size++) {
    std::vector<char> memory(size + 2 * kMargin, kCanary);
    TextBuffer out(memory.data() + kMargin, size);
    write(&out);
    ASSERT_LT(out.length(), size);
    ASSERT_EQ(std::strlen(out.c_str()), out.length());
    for (std::size_t i = 0; i < kMargin; i++) {
      ASSERT_EQ(memory[i], kCanary) << size;
      ASSERT_EQ(memory[kMargin + size + i], kCanary) << size;
    }
    check(std::string(out.c_str(), out.length()), size);
  }
}

TEST(BufferTest, IsEmptyAtFirst) {
  char buffer[] = "old";
  TextBuffer out(buffer, sizeof(buffer));
  EXPECT_STREQ(out.c_str(), "");
  EXPECT_EQ(out.length(), 0U);
}

TEST(BufferTest, TextIsAppended) {
  char buffer[16];
  TextBuffer out(buffer, sizeof(buffer));
  out.append("pid=");
  out.append_number(12);
  out.append("");
  out.append(" ");
  out.append_seconds(2 * kSecond);
  EXPECT_STREQ(out.c_str(), "pid=12 2s");
  EXPECT_EQ(out.length(), 9U);
}

TEST(BufferTest, PlainTextIsCutWhereTheBufferEnds) {
  const std::string text = "session leak: pid=";
  at_every_size(
      text.size() + 2, [&](TextBuffer* out) { out->append(text.c_str()); },
      [&](const std::string& written, std::size_t size) { EXPECT_EQ(written, text.substr(0, size - 1)); });
}

TEST(BufferTest, PlainTextIsCutOnlyBetweenCharacters) {
  const std::vector<std::string> pieces = {"a", "é", "€", "💧", "b", "\xE2", "\x82", "c", "\xFF", " ", "d"};
  std::string text;
  for (const std::string& piece : pieces) text += piece;

  at_every_size(
      text.size() + 2, [&](TextBuffer* out) { out->append(text.c_str()); },
      [&](const std::string& written, std::size_t size) {
        std::string expected;
        for (const std::string& piece : pieces) {
          if (expected.size() + piece.size() >= size) break;
          expected += piece;
        }
        ASSERT_EQ(written, expected) << size;
      });
}

TEST(BufferTest, EscapedTextIsCutOnlyBetweenCharactersAndEscapes) {
  for (const bool quoted : {false, true}) {
    for (const std::string& text : {std::string(kMixedText), all_bytes()}) {
      const std::string whole = escaped(text, quoted);
      at_every_size(
          whole.size() + 2, [&](TextBuffer* out) { out->append_escaped(text.c_str(), quoted); },
          [&](const std::string& written, std::size_t size) {
            ASSERT_EQ(written, whole.substr(0, written.size())) << "a beginning of the whole";
            ASSERT_TRUE(is_harmless(written)) << PrintToString(written);
            const std::string bytes = unescape(written);  // fails on half an escape
            ASSERT_EQ(bytes, text.substr(0, bytes.size()));
            // No more is cut than necessary: the next character or escape has at most four bytes.
            if (size > whole.size()) {
              ASSERT_EQ(written, whole);
            } else {
              ASSERT_LT(size - 1 - written.size(), 4U) << size;
            }
          });
    }
  }
}

TEST(BufferTest, AfterTheFirstThatDoesNotFitNothingOfTheSameTextFollows) {
  char buffer[5];
  TextBuffer out(buffer, sizeof(buffer));
  out.append_escaped(
      "ab\xE2\x82\xAC"
      "c",
      false);
  EXPECT_STREQ(out.c_str(), "ab") << "c would fit, but would stand in the place of the euro sign";
}

TEST(BufferTest, APairIsCutCleanlyToo) {
  const std::string whole = pair("application", kMixedText);
  at_every_size(
      whole.size() + 2, [&](TextBuffer* out) { out->append_pair("application", kMixedText); },
      [&](const std::string& written, std::size_t size) {
        ASSERT_TRUE(is_harmless(written)) << PrintToString(written);
        if (size > whole.size()) {
          ASSERT_EQ(written, whole);
        }
      });
}

TEST(BufferTest, AFullBufferTakesNothingMore) {
  char buffer[4];
  TextBuffer out(buffer, sizeof(buffer));
  out.append("abc");
  out.append("d");
  out.append("");
  out.append_number(5);
  out.append_seconds(kSecond);
  out.append_escaped("\n", true);
  out.append_pair("k", "v");
  EXPECT_STREQ(out.c_str(), "abc");
  EXPECT_EQ(out.length(), 3U);
}

// A truncated line must be a prefix of the whole line: omitting a piece in the middle would make 123.5 s look
// like 0.5 s, and let a quote close a value that never ended.
TEST(BufferTest, ACutLineIsABeginningOfTheWholeLine) {
  const auto write = [](TextBuffer* out) {
    out->append_pair("application", kMixedText);
    out->append(" for=");
    out->append_seconds(123'500 * kMillisecond);
    out->append(" ");
    out->append_pair("role", "\xC2\x9Bx");
    out->append(" leak_id=");
    out->append_number(4711);
  };
  char large[512];
  TextBuffer all(large, sizeof(large));
  write(&all);
  const std::string whole = all.c_str();
  at_every_size(whole.size() + 2, write, [&](const std::string& written, std::size_t size) {
    EXPECT_EQ(written, whole.substr(0, written.size())) << size;
  });
}

}  // namespace
}  // namespace pgleak
