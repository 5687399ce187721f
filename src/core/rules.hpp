// Owns: comparing a session's name and address with what a rule says of them: LIKE and networks.
// Called by core/rules. Must never allocate or know the server. Never ereports.
// Owns: the rules of pgleak.rules in their compiled form, which of them match a session, and which one
// decides about its limits. Compiled by the recorder, used by the scanner and by pgleak.limits_for().
// Lives in shared memory: trivially copyable, no pointers. Must never allocate. Never ereports.
#ifndef PGLEAK_CORE_RULES_HPP
#define PGLEAK_CORE_RULES_HPP

#include <cstdint>

#include "core/detection.hpp"
#include "core/episode.hpp"
#include "core/impact.hpp"
#include "core/limits.hpp"
#include "core/time.hpp"

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

inline constexpr int kMaxRules = 256;
inline constexpr int kMaxRoles = 4096;    // roles that satisfy some rule's role
inline constexpr int kPatternSize = 128;  // includes the terminating NUL

// A set of rules, each named by its place in RuleSet::rules.
struct RuleBits {
  static constexpr int kWords = kMaxRules / 64;
  std::uint64_t word[kWords];

  void add(int rule) { word[rule / 64] |= std::uint64_t{1} << (rule % 64); }
  bool has(int rule) const { return (word[rule / 64] >> (rule % 64) & 1) != 0; }
  // The first rule at or after place `from`; kMaxRules if there is none.
  int next(int from) const;
};

// One rule. What it says nothing about is empty and matches everything.
struct Rule {
  RuleLimits limits;
  WallTime valid_until;  // kEndOfTime: always
  Network client;
  Impact min_impact;  // kNone: whatever it is
  bool names_role;    // which sessions satisfy that is in RuleSet's roles
  char database[kNameSize];
  char role[kNameSize];
  char application_name[kPatternSize];
};

// All rules in the order in which they are tried, and which roles are members of those they name. Readers
// copy it whole; what they do with a copy is safe whatever it holds.
struct RuleSet {
  std::int32_t count;
  std::int32_t role_count;
  bool uses_transaction_clock;  // some rule has a leak limit on it
  Rule rules[kMaxRules];
  std::uint32_t roles[kMaxRoles];    // ascending
  RuleBits satisfied_by[kMaxRoles];  // for each of these roles: the rules whose role it is a member of
};

// What rules ask about a session.
struct SessionFacts {
  const char* database;
  std::uint32_t role_oid;  // of the login
  const char* application_name;
  Network client;
};

// The rules that may decide about a session, in their order up to the first one that needs no impact.
struct Match {
  RuleBits rules;
  WallTime valid_from;   // the answer holds from then
  WallTime valid_until;  // to then, as long as the session's facts and the rules stay what they are
};

Match match_rules(const RuleSet& set, const SessionFacts& facts, WallTime now);

// True if the impact of the session is needed to say which of the matching rules decides.
bool depends_on_impact(const RuleSet& set, const RuleBits& matches);

// The limits of a session: its own values, then those of the first matching rule that asks for no more than
// `impact`, then the server's.
Limits choose_limits(const RuleSet& set, const RuleBits& matches, const LimitValues& own,
                     const LimitValues& server, Impact impact);

// Whether the session would be a leak under any of the rules that may decide about it. Only then does it
// matter which one does, and is it worth the trouble to find out the impact. `*next_due_in` is lowered to the
// time until that could change by the clocks alone; a rule whose limit is passed and that only waits for a
// higher impact may begin to match at any moment, which the next ordinary look finds out.
bool may_be_leak(const RuleSet& set, const RuleBits& matches, const LimitValues& own,
                 const LimitValues& server, const Ages& ages, Micros* next_due_in);

// For whoever compiles: whether two sets have the same rules, and the same members of roles. Both sets were
// all zero, padding included, before they were filled.
bool have_same_rules(const RuleSet& a, const RuleSet& b);
bool have_same_roles(const RuleSet& a, const RuleSet& b);

// For whoever compiles: adds a role to a set whose roles so far are all smaller. False if there is no room.
bool add_role(RuleSet* set, std::uint32_t role, const RuleBits& satisfied);

}  // namespace pgleak

#endif
