// The rules of pgleak.rules in compiled form: matching a session's name, role and address with a rule, which
// rules match a session, and which one decides about its limits.
//
// The recorder compiles them; the scanner and pgleak.limits_for() use them. A RuleSet lives in shared memory:
// trivially copyable, no pointers. Allocates nothing, never ereports.
#ifndef PGLEAK_CORE_RULES_HPP
#define PGLEAK_CORE_RULES_HPP

#include <cstdint>

#include "core/detection.hpp"
#include "core/episode.hpp"
#include "core/impact.hpp"
#include "core/limits.hpp"
#include "core/time.hpp"

namespace pgleak {

// SQL LIKE: % matches any text, _ any one character, and a backslash takes the next character literally (a
// final backslash stands for itself). `_` matches a whole UTF-8 character, or else one byte; an
// application_name is ASCII anyway.
bool is_like(const char* text, const char* pattern);

// The address of a client, or the network of a rule.
struct Network {
  enum class Family : std::uint8_t { kNone, kIpv4, kIpv6 };
  Family family;
  std::uint8_t bits;       // length of the network part; for an address, all bits
  std::uint8_t bytes[16];  // IPv4 uses the first 4
};

// `bytes` holds 4 or 16 bytes in network order. An IPv4 address in IPv6 notation (::ffff:10.0.0.1) becomes
// IPv4, and so does such a network.
Network make_network(Network::Family family, const unsigned char* bytes, int bits);

// True if `address` lies in `network`. The absence of an address, as on a Unix socket, matches no network.
bool contains(const Network& network, const Network& address);

inline constexpr int kMaxRules = 256;
inline constexpr int kMaxRoles = 4096;    // members of the roles that rules name
inline constexpr int kPatternSize = 128;  // includes the terminating NUL

// A set of rules, by their index in RuleSet::rules.
struct RuleBits {
  static constexpr int kWords = kMaxRules / 64;
  std::uint64_t word[kWords];

  void add(int rule) { word[rule / 64] |= std::uint64_t{1} << (rule % 64); }
  bool has(int rule) const { return (word[rule / 64] >> (rule % 64) & 1) != 0; }
  // The first rule at or after `from`; kMaxRules if there is none.
  int next(int from) const;
};

// One rule. Fields it leaves empty match everything.
struct Rule {
  RuleLimits limits;
  WallTime valid_until;  // kEndOfTime: always
  Network client;
  Impact min_impact;  // kNone: any impact
  bool names_role;    // RuleSet::roles says which sessions match
  char database[kNameSize];
  char role[kNameSize];
  char application_name[kPatternSize];
};

// All rules in the order in which they are tried, and the members of the roles they name. Readers copy it
// whole; every use of a copy is safe even if its content is inconsistent.
struct RuleSet {
  std::int32_t count;
  std::int32_t role_count;
  bool uses_transaction_clock;  // some rule has a leak limit on the transaction clock
  Rule rules[kMaxRules];
  std::uint32_t roles[kMaxRoles];    // ascending
  RuleBits satisfied_by[kMaxRoles];  // per role: the rules whose role it is, or is a member of
};

// The facts about a session that rules match.
struct SessionFacts {
  const char* database;
  std::uint32_t role_oid;  // of the login role
  const char* application_name;
  Network client;
};

// The rules that may decide about a session, in order, up to the first that needs no impact.
struct Match {
  RuleBits rules;
  WallTime valid_from;   // the match is valid from then
  WallTime valid_until;  // until then, unless the session's facts or the rules change
};

Match match_rules(const RuleSet& set, const SessionFacts& facts, WallTime now);

// True if the choice among the matching rules depends on the session's impact.
bool depends_on_impact(const RuleSet& set, const RuleBits& matches);

// The limits of a session: its own values, then those of the first matching rule whose min_impact does not
// exceed `impact`, then the server's.
Limits choose_limits(const RuleSet& set, const RuleBits& matches, const LimitValues& own,
                     const LimitValues& server, Impact impact);

// True if the session would be a leak under any of the rules that may decide about it. Only then does the
// choice among them matter, and with it the cost of measuring the impact. Lowers `*next_due_in` to the time
// until the clocks alone could change the answer. A rule whose limit has passed and that waits only for a
// higher impact may match at any moment; the next regular scan finds out.
bool may_be_leak(const RuleSet& set, const RuleBits& matches, const LimitValues& own,
                 const LimitValues& server, const Ages& ages, Micros* next_due_in);

// For the recorder: compare two sets by their rules, and by their role members. Both sets must have been all
// zero, padding included, before they were filled.
bool have_same_rules(const RuleSet& a, const RuleSet& b);
bool have_same_roles(const RuleSet& a, const RuleSet& b);

// For the recorder: adds a role that is larger than all roles in the set. Returns false if the set is full.
bool add_role(RuleSet* set, std::uint32_t role, const RuleBits& satisfied);

}  // namespace pgleak

#endif
