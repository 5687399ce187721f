#include "scanner/session_limits.hpp"

#include <arpa/inet.h>

#include "pg/clock.hpp"
#include "pg/lock_table.hpp"
#include "pg/postgres.hpp"
#include "shmem/rule_memory.hpp"
#include "shmem/shared_memory.hpp"

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

bool still_holds(const Remembered& known, const StatusEntry& entry, WallTime now) {
  return known.rules_version == rules_version && known.session == entry.id &&
         known.change_count == entry.change_count && now >= known.match.valid_from &&
         now < known.match.valid_until;
}

Impact current_impact(int index, SessionId session) {
  BackendOwner owner;
  HeldResources held;
  if (!session_slots[index].backend.read_owner(session, &owner)) return Impact::kNone;
  return read_held_resources(owner.proc_index, session.pid, &held) ? grade(held) : Impact::kNone;
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
  const LimitValues own = session_slots[index].backend.own_limits();
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
  if (match.valid_until != kEndOfTime) *next_due_in = Min(*next_due_in, match.valid_until - now);

  Impact impact = Impact::kNone;
  if (depends_on_impact(*rules, match.rules) &&
      may_be_leak(*rules, match.rules, own, server, ages, next_due_in))
    impact = current_impact(index, entry.id);
  *limits = choose_limits(*rules, match.rules, own, server, impact);
  return true;
}

}  // namespace pgleak
