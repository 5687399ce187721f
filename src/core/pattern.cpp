#include "core/pattern.hpp"

#include <cstring>

#include "core/text.hpp"

namespace pgleak {

namespace {

const char* next_character(const char* text) {
  const int length = utf8_character_length(text);
  return text + (length > 0 ? length : 1);
}

}  // namespace

// Each % is at first nothing; when what follows does not match, the last one takes a character more. Those
// before it need no second thought: what the last one can reach, they can too.
bool is_like(const char* text, const char* pattern) {
  const char* after_percent = nullptr;  // the rest of the pattern behind the last %
  const char* retry = nullptr;          // where in the text that rest was tried last
  while (*text != '\0') {
    if (*pattern == '%') {
      after_percent = ++pattern;
      retry = text;
      continue;
    }
    if (*pattern == '_') {
      pattern++;
      text = next_character(text);
      continue;
    }
    const char* literal = *pattern == '\\' && pattern[1] != '\0' ? pattern + 1 : pattern;
    if (*literal == *text) {
      pattern = literal + 1;
      text++;
      continue;
    }
    if (after_percent == nullptr) return false;
    pattern = after_percent;
    text = retry = next_character(retry);
  }
  while (*pattern == '%') pattern++;
  return *pattern == '\0';
}

Network make_network(Network::Family family, const unsigned char* bytes, int bits) {
  static const unsigned char kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
  Network network{};
  if (family == Network::Family::kIpv6 && bits >= 96 && std::memcmp(bytes, kMapped, sizeof(kMapped)) == 0) {
    family = Network::Family::kIpv4;
    bytes += sizeof(kMapped);
    bits -= 96;
  }
  network.family = family;
  network.bits = static_cast<std::uint8_t>(bits);
  if (family != Network::Family::kNone)
    std::memcpy(network.bytes, bytes, family == Network::Family::kIpv4 ? 4 : 16);
  return network;
}

bool contains(const Network& network, const Network& address) {
  if (network.family != address.family || address.family == Network::Family::kNone) return false;
  const std::size_t whole = network.bits / 8;
  if (std::memcmp(network.bytes, address.bytes, whole) != 0) return false;
  const int rest = network.bits % 8;
  return rest == 0 || ((network.bytes[whole] ^ address.bytes[whole]) >> (8 - rest)) == 0;
}

}  // namespace pgleak
