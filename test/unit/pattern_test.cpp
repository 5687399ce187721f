// Tests of the patterns in core/rules: LIKE as in the server, and networks of both families.
#include "core/rules.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

namespace pgleak {
namespace {

struct LikeCase {
  const char* text;
  const char* pattern;
  bool matches;
};

// Each result was checked against the server: SELECT text LIKE pattern.
const LikeCase kLikeCases[] = {
    {"psql", "psql", true},
    {"psql", "PSQL", false},
    {"psql", "psq", false},
    {"psql", "psqll", false},
    {"", "%", true},
    {"", "_", false},
    {"", "%%", true},
    {"", "x", false},
    {"psql", "%", true},
    {"psql", "p%", true},
    {"psql", "%l", true},
    {"psql", "%s%", true},
    {"psql", "%x%", false},
    {"psql", "p%q%", true},
    {"psql", "p%l%l", false},
    {"psql", "____", true},
    {"psql", "___", false},
    {"psql", "_____", false},
    {"psql", "_%_", true},
    {"psql", "%____%", true},
    {"psql", "%_____%", false},
    {"ab", "%b_", false},
    {"aab", "%ab", true},
    {"abab", "%ab", true},
    {"mississippi", "m%iss%ip%i", true},
    {"mississippi", "m%iss%ix%i", false},
    {"pg_dump", "pg\\_dump", true},
    {"pgxdump", "pg\\_dump", false},
    {"pgxdump", "pg_dump", true},
    {"100%", "100\\%", true},
    {"1000", "100\\%", false},
    {"100%", "%\\%", true},
    {"a\\b", "a\\\\b", true},
    {"ab", "a\\b", true},
    {"a\\", "a\\\\", true},
    {"a\\", "a\\", true},  // an error in the server, rejected by a CHECK
    {"%", "\\%", true},
    {"x", "\\%", false},
    {"\xC3\xA4", "_", true},  // one character of two bytes
    {"\xC3\xA4", "__", false},
    {"\xC3\xA4x", "%x", true},
    {"\xC3\xA4x", "_x", true},
    {"\xE4x", "_x", true},  // not a valid character: one byte
};

TEST(LikeTest, IsTheServers) {
  for (const LikeCase& c : kLikeCases)
    EXPECT_EQ(is_like(c.text, c.pattern), c.matches) << c.text << " LIKE " << c.pattern;
}

// LIKE by its definition, in exponential time.
bool like_by_definition(const char* text, const char* pattern) {
  if (*pattern == '\0') return *text == '\0';
  if (*pattern == '%')
    return like_by_definition(text, pattern + 1) || (*text != '\0' && like_by_definition(text + 1, pattern));
  if (*text == '\0') return false;
  if (*pattern == '_') return like_by_definition(text + 1, pattern + 1);
  if (*pattern == '\\' && pattern[1] != '\0') pattern++;
  return *pattern == *text && like_by_definition(text + 1, pattern + 1);
}

TEST(LikeTest, AgreesWithItsDefinition) {
  std::mt19937 random(4711);
  const auto any = [&random](const char* letters, std::size_t count, std::size_t longest) {
    std::string word(random() % (longest + 1), ' ');
    for (char& letter : word) letter = letters[random() % count];
    return word;
  };
  int matches = 0;
  for (int i = 0; i < 200'000; i++) {
    const std::string text = any("ab%", 3, 8);
    const std::string pattern = any("ab%_\\", 5, 8);
    const bool expected = like_by_definition(text.c_str(), pattern.c_str());
    ASSERT_EQ(is_like(text.c_str(), pattern.c_str()), expected) << text << " LIKE " << pattern;
    if (expected) matches++;
  }
  EXPECT_GT(matches, 1000);
}

TEST(LikeTest, TheWorstPatternTakesNoTime) {
  const std::string text(63, 'a');
  std::string pattern;
  while (pattern.size() < 120) pattern += "%a";
  for (int i = 0; i < 10'000; i++) ASSERT_FALSE(is_like(text.c_str(), (pattern + "b").c_str()));
}

Network network(const char* text, int bits = -1) {
  unsigned char bytes[16];
  if (inet_pton(AF_INET, text, bytes) == 1)
    return make_network(Network::Family::kIpv4, bytes, bits < 0 ? 32 : bits);
  EXPECT_EQ(inet_pton(AF_INET6, text, bytes), 1) << text;
  return make_network(Network::Family::kIpv6, bytes, bits < 0 ? 128 : bits);
}

struct NetworkCase {
  const char* network;
  int bits;
  const char* address;
  bool contains;
};

const NetworkCase kNetworkCases[] = {
    {"10.0.0.0", 8, "10.1.2.3", true},
    {"10.0.0.0", 8, "11.1.2.3", false},
    {"10.9.9.9", 8, "10.1.2.3", true},  // an inet with host bits
    {"192.168.1.0", 24, "192.168.1.255", true},
    {"192.168.1.0", 24, "192.168.2.0", false},
    {"192.168.1.128", 25, "192.168.1.127", false},
    {"192.168.1.128", 25, "192.168.1.128", true},
    {"192.168.1.4", 31, "192.168.1.5", true},
    {"192.168.1.4", 31, "192.168.1.6", false},
    {"192.168.1.4", 32, "192.168.1.4", true},
    {"192.168.1.4", 32, "192.168.1.5", false},
    {"0.0.0.0", 0, "255.255.255.255", true},
    {"0.0.0.0", 0, "::1", false},
    {"::", 0, "::1", true},
    {"::", 0, "10.0.0.1", false},
    {"2001:db8::", 32, "2001:db8:1::1", true},
    {"2001:db8::", 32, "2001:db9::1", false},
    {"2001:db8::", 33, "2001:db8:8000::1", false},
    {"::1", 128, "::1", true},
    {"::1", 128, "::2", false},
    // IPv4 in IPv6 notation
    {"10.0.0.0", 8, "::ffff:10.0.0.1", true},
    {"10.0.0.0", 8, "::ffff:11.0.0.1", false},
    {"::ffff:10.0.0.0", 104, "10.0.0.1", true},
    {"::ffff:10.0.0.0", 104, "::ffff:10.9.9.9", true},
    {"::ffff:10.0.0.0", 104, "11.0.0.1", false},
};

TEST(NetworkTest, ContainsWhatTheServersOperatorSays) {
  for (const NetworkCase& c : kNetworkCases)
    EXPECT_EQ(contains(network(c.network, c.bits), network(c.address)), c.contains)
        << c.network << "/" << c.bits << " and " << c.address;
}

TEST(NetworkTest, AUnixSocketLiesInNoNetwork) {
  const Network none{};
  EXPECT_FALSE(contains(network("0.0.0.0", 0), none));
  EXPECT_FALSE(contains(network("::", 0), none));
  EXPECT_FALSE(contains(none, none));
}

}  // namespace
}  // namespace pgleak
