#include "server/session_limits.hpp"

#include <arpa/inet.h>

#include "server/clock.hpp"
#include "server/holdings.hpp"
#include "server/lock_waits.hpp"
#include "server/postgres.hpp"
#include "server/rule_memory.hpp"
#include "server/shared_memory.hpp"

extern "C" {
#include "utils/memutils.h"
}

namespace pgleak {

namespace {

// The scanner's own copy of the rules, in which no writer is ever in its way, and room for the next one.
RuleSet* rules = nullptr;
RuleSet* next_rules = nullptr;
std::uint64_t rules_version = 0;

// What was matched for the session of each slot, and for which state of affairs. The entry's change count
// covers whatever the session can change of itself: another user of the slot, another application_name.
struct Remembered {
  SessionId session;
  std::uint32_t change_count;
  std::uint64_t rules_version;  // 0: nothing yet
  Match match;
};
Remembered* remembered = nullptr;

Network parse_address(const char* text) {
  unsigned char bytes[16];
  if (text[0] == '\0') return Network{};
  if (inet_pton(AF_INET, text, bytes) == 1) return make_network(Network::Family::kIpv4, bytes, 32);
  if (inet_pton(AF_INET6, text, bytes) == 1) return make_network(Network::Family::kIpv6, bytes, 128);
  return Network{};
}

// False if the session in slot `index` is not that of `entry` any more, or has not introduced itself yet.
bool match_session(const RuleSet& set, int index, const StatusEntry& entry, WallTime now, Match* match) {
  GuestOwner owner;
  SessionIdentity who;
  if (!session_slots[index].guest.read_owner(entry.id, &owner)) return false;
  if (!read_status_strings(index, entry.id, &who, nullptr, 0, nullptr)) return false;
  const SessionFacts facts{owner.database, entry.role_oid, who.application_name,
                           parse_address(who.client_address)};
  *match = match_rules(set, facts, now);
  return true;
}

bool still_holds(const Remembered& known, const StatusEntry& entry, WallTime now) {
  return known.rules_version == rules_version && known.session == entry.id &&
         known.change_count == entry.change_count && now >= known.match.valid_from &&
         now < known.match.valid_until;
}

Impact current_impact(int index, SessionId session) {
  Holdings holdings;
  return read_holdings(index, session, &holdings) ? grade(holdings) : Impact::kNone;
}

// Outside of the scanner who waits for whom is read anew each time.
Impact impact_outside_scanner(int index, SessionId session) {
  static bool is_prepared = false;
  if (!is_prepared) prepare_lock_waits();
  is_prepared = true;
  forget_lock_waits();
  return current_impact(index, session);
}

// The server's own values, whatever this session's are.
LimitValues server_limits() {
  LimitValues limits{};
  for (int i = 0; i < kLimitCount; i++) limits.value[i] = shared->server_limits[i].load();
  return limits;
}

// Copies the rules in force. The recorder is done with changing them in no time unless it is stopped.
void copy_rules(RuleSet* set) {
  constexpr int kTries = 1000;
  for (int i = 0; i < kTries; i++) {
    if (read_rules(set)) return;
    CHECK_FOR_INTERRUPTS();
    pg_usleep(1000);
  }
  ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("the rules of pgleak are being changed"),
                  errhint("Try again.")));
}

}  // namespace

void prepare_session_limits() {
  const Size slots = static_cast<Size>(shared->slot_count);
  rules = static_cast<RuleSet*>(MemoryContextAllocZero(TopMemoryContext, sizeof(RuleSet)));
  next_rules = static_cast<RuleSet*>(MemoryContextAllocZero(TopMemoryContext, sizeof(RuleSet)));
  remembered = static_cast<Remembered*>(MemoryContextAllocZero(TopMemoryContext, slots * sizeof(Remembered)));
}

void refresh_rules() {
  // Should they be published again while they are copied, the copy is newer than its number and is made
  // again.
  const std::uint64_t version = shared_rules->version.load(std::memory_order_acquire);
  if (version == rules_version || !read_rules(next_rules)) return;
  RuleSet* const old = rules;
  rules = next_rules;
  next_rules = old;
  rules_version = version;
}

bool rules_use_transaction_clock() { return rules->uses_transaction_clock; }

bool find_limits(int index, const StatusEntry& entry, const Ages& ages, const LimitValues& server,
                 WallTime now, Limits* limits, Micros* next_due_in) {
  const LimitValues own = session_slots[index].guest.own_limits();
  if (rules->count == 0) {
    *limits = resolve_limits(own, nullptr, server);
    return true;
  }
  Remembered& known = remembered[index];
  if (!still_holds(known, entry, now)) {
    known.rules_version = 0;
    if (!match_session(*rules, index, entry, now, &known.match)) return false;
    known.session = entry.id;
    known.change_count = entry.change_count;
    known.rules_version = rules_version;
  }
  const Match& match = known.match;
  if (match.valid_until != kForever) *next_due_in = Min(*next_due_in, match.valid_until - now);

  Impact impact = Impact::kNone;
  if (depends_on_impact(*rules, match.rules) &&
      may_be_leak(*rules, match.rules, own, server, ages, next_due_in))
    impact = current_impact(index, entry.id);
  *limits = choose_limits(*rules, match.rules, own, server, impact);
  return true;
}

Limits explain_limits(int index, const StatusEntry& entry) {
  RuleSet* const set = static_cast<RuleSet*>(palloc(sizeof(RuleSet)));
  copy_rules(set);
  Match match{};
  if (set->count > 0 && !match_session(*set, index, entry, read_clocks().wall, &match))
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("session with PID %d is just starting or has just ended", entry.id.pid)));
  const Impact impact =
      depends_on_impact(*set, match.rules) ? impact_outside_scanner(index, entry.id) : Impact::kNone;
  const Limits limits =
      choose_limits(*set, match.rules, session_slots[index].guest.own_limits(), server_limits(), impact);
  pfree(set);
  return limits;
}

}  // namespace pgleak
