// Owns: comparing a session's name and address with what a rule says of them: LIKE and networks.
// Called by core/rules. Must never allocate or know the server. Never ereports.
#ifndef PGLEAK_CORE_PATTERN_HPP
#define PGLEAK_CORE_PATTERN_HPP

#include <cstdint>

namespace pgleak {

// LIKE as the server has it: % is any text, _ any one character, a backslash takes the next character as it
// is (one at the very end stands for itself). `_` takes a whole UTF-8 character or else one byte; an
// application_name is ASCII anyway, whatever the client sent.
bool is_like(const char* text, const char* pattern);

// An address of a client, or a network that a rule names.
struct Network {
  enum class Family : std::uint8_t { kNone, kIpv4, kIpv6 };
  Family family;
  std::uint8_t bits;       // of the network part; all of them for an address
  std::uint8_t bytes[16];  // the first 4 of them for IPv4
};

// `bytes` are 4 or 16, in network order. An IPv4 address that comes as IPv6 (::ffff:10.0.0.1) is taken for
// what it is, and so is a network of such.
Network make_network(Network::Family family, const unsigned char* bytes, int bits);

// True if `address` lies in `network`. No address, as of a unix socket, lies in no network.
bool contains(const Network& network, const Network& address);

}  // namespace pgleak

#endif
