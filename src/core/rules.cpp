
#include "core/rules.hpp"

#include <cstring>

#include "core/assert.hpp"
#include "core/text.hpp"

namespace pgleak {

namespace {

const char* next_character(const char* text) {
  const int length = utf8_character_length(text);
  return text + (length > 0 ? length : 1);
}

}  // namespace

// Each % matches nothing at first; when the rest does not match, the last % takes one character more. Earlier
// ones never need another try: the last % can reach everything that they can.
bool is_like(const char* text, const char* pattern) {
  const char* after_percent = nullptr;  // the rest of the pattern after the last %
  const char* retry = nullptr;          // where in the text that rest was last tried
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

namespace {

// A copy from shared memory may be stale, but its counts only bound loops.
int bounded(std::int32_t count, int most) { return count < 0 ? 0 : count < most ? count : most; }

const RuleBits* find_role(const RuleSet& set, std::uint32_t role) {
  int low = 0;
  int high = bounded(set.role_count, kMaxRoles);
  while (low < high) {
    const int middle = (low + high) / 2;
    if (set.roles[middle] < role)
      low = middle + 1;
    else
      high = middle;
  }
  if (low >= bounded(set.role_count, kMaxRoles) || set.roles[low] != role) return nullptr;
  return &set.satisfied_by[low];
}

bool matches_names(const Rule& rule, const SessionFacts& facts) {
  if (rule.database[0] != '\0' && std::strcmp(rule.database, facts.database) != 0) return false;
  if (rule.client.family != Network::Family::kNone && !contains(rule.client, facts.client)) return false;
  return rule.application_name[0] == '\0' || is_like(facts.application_name, rule.application_name);
}

// Calls visit(rule or nullptr) for each candidate in order until it returns false. nullptr stands for the
// server's values alone, which apply if no rule does.
template <typename Visit>
void for_each_candidate(const RuleSet& set, const RuleBits& matches, Visit visit) {
  const int count = bounded(set.count, kMaxRules);
  for (int i = matches.next(0); i < count; i = matches.next(i + 1)) {
    if (!visit(&set.rules[i])) return;
    if (set.rules[i].min_impact == Impact::kNone) return;
  }
  visit(static_cast<const Rule*>(nullptr));
}

}  // namespace

int RuleBits::next(int from) const {
  for (int rule = from; rule < kMaxRules;) {
    const std::uint64_t rest = word[rule / 64] >> (rule % 64);
    if (rest == 0) {
      rule = (rule / 64 + 1) * 64;
      continue;
    }
    while (!has(rule)) rule++;
    return rule;
  }
  return kMaxRules;
}

Match match_rules(const RuleSet& set, const SessionFacts& facts, WallTime now) {
  Match match{{}, now, kEndOfTime};
  const RuleBits* const satisfied = find_role(set, facts.role_oid);
  const int count = bounded(set.count, kMaxRules);
  for (int i = 0; i < count; i++) {
    const Rule& rule = set.rules[i];
    if (rule.valid_until <= now) continue;
    if (rule.names_role && (satisfied == nullptr || !satisfied->has(i))) continue;
    if (!matches_names(rule, facts)) continue;
    match.rules.add(i);
    if (rule.valid_until < match.valid_until) match.valid_until = rule.valid_until;
    if (rule.min_impact == Impact::kNone) break;
  }
  return match;
}

bool depends_on_impact(const RuleSet& set, const RuleBits& matches) {
  const int first = matches.next(0);
  return first < bounded(set.count, kMaxRules) && set.rules[first].min_impact != Impact::kNone;
}

Limits choose_limits(const RuleSet& set, const RuleBits& matches, const LimitValues& own,
                     const LimitValues& server, Impact impact) {
  const Rule* decides = nullptr;
  for_each_candidate(set, matches, [&decides, impact](const Rule* rule) {
    decides = rule;
    return rule != nullptr && rule->min_impact > impact;
  });
  return resolve_limits(own, decides != nullptr ? &decides->limits : nullptr, server);
}

bool may_be_leak(const RuleSet& set, const RuleBits& matches, const LimitValues& own,
                 const LimitValues& server, const Ages& ages, Micros* next_due_in) {
  bool may_be = false;
  for_each_candidate(set, matches, [&](const Rule* rule) {
    const Limits limits = resolve_limits(own, rule != nullptr ? &rule->limits : nullptr, server);
    const Detection found = detect_leak(ages, limits);
    if (found.is_leak) may_be = true;
    if (found.next_due_in < *next_due_in) *next_due_in = found.next_due_in;
    return true;
  });
  return may_be;
}

bool have_same_rules(const RuleSet& a, const RuleSet& b) {
  if (a.count != b.count) return false;
  return std::memcmp(a.rules, b.rules, sizeof(Rule) * static_cast<std::size_t>(a.count)) == 0;
}

bool have_same_roles(const RuleSet& a, const RuleSet& b) {
  if (a.role_count != b.role_count) return false;
  const std::size_t count = static_cast<std::size_t>(a.role_count);
  return std::memcmp(a.roles, b.roles, sizeof(a.roles[0]) * count) == 0 &&
         std::memcmp(a.satisfied_by, b.satisfied_by, sizeof(a.satisfied_by[0]) * count) == 0;
}

bool add_role(RuleSet* set, std::uint32_t role, const RuleBits& satisfied) {
  PGLEAK_ASSERT(set->role_count == 0 ||
                set->roles[set->role_count - 1] < role);  // find_role() is a binary search
  if (set->role_count >= kMaxRoles) return false;
  set->roles[set->role_count] = role;
  set->satisfied_by[set->role_count] = satisfied;
  set->role_count++;
  return true;
}

}  // namespace pgleak
