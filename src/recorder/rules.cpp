#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/transaction.hpp"
#include "pg/worker.hpp"
#include "recorder/history.hpp"
#include "recorder/recorder.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "access/xlog.h"
#include "pgstat.h"
#include "utils/inval.h"
#include "utils/syscache.h"
}

namespace pgleak {

namespace {

constexpr int kTimeoutMs = 30000;

// How often the recorder hears what the server tells of changed catalogs, if there may be something to hear.
constexpr Micros kListenInterval = kSecond;

// How often it looks although nobody told it anything, if any transaction has written something meanwhile:
// changes that fire no trigger, such as a restore with triggers off or COMMIT PREPARED. On a standby, which
// sees no triggers at all, and while the table is locked the short interval counts.
constexpr Micros kPollInterval = 5 * kSecond;
constexpr Micros kShortPollInterval = kSecond;

struct RulesState {
  bool is_stale;          // the table has changed, as a table
  bool are_roles_stale;   // some role or membership has changed
  Oid table;              // as last seen
  std::uint64_t changes;  // of the table, as of the last reading
  ChangeWatch news;       // to hear of
  ChangeWatch rows;       // to look for
  MonotonicTime listen_at;
  MonotonicTime read_at;   // also if nothing seems to have changed
  MonotonicTime retry_at;  // not before that; none: the last reading went well
  std::int64_t roles_left_out;
  RuleSet* set;  // room for reading into; all zero before that, padding included
};

RulesState rules_state;

// Called wherever the server handles invalidation messages: these may do nothing but set a flag.
void note_schema_change(Datum, compat::SyscacheId, uint32) { rules_state.is_stale = true; }

void note_role_change(Datum, compat::SyscacheId, uint32) { rules_state.are_roles_stale = true; }

void note_table_change(Datum, Oid table) {
  if (!OidIsValid(table) || table == rules_state.table) rules_state.is_stale = true;
}

// What one reading has found.
struct Reading {
  HistoryAccess access;
  std::int64_t roles_left_out;
};

void copy_role_members(RuleSet* set, const RuleSet& from) {
  set->role_count = from.role_count;
  memcpy(set->roles, from.roles, sizeof(set->roles));
  memcpy(static_cast<void*>(set->satisfied_by), from.satisfied_by, sizeof(set->satisfied_by));
}

// The body of the transaction. Of roles the server tells reliably: as long as it has not, and the rules are
// the same, so are the members.
void read_rules_into(RuleSet* set, Reading* reading) {
  // The server has told all that was committed by now, and the snapshots to come will see it.
  const bool were_roles_stale = rules_state.are_roles_stale;
  rules_state.is_stale = rules_state.are_roles_stale = false;
  reading->access = open_rules(&rules_state.table);
  if (reading->access != HistoryAccess::kReady) return;
  read_rules_table(set);
  close_rules();
  const RuleSet& in_force = shared_rules->set.current();
  if (were_roles_stale || !have_same_rules(in_force, *set)) {
    reading->roles_left_out = read_role_members(set);
  } else {
    copy_role_members(set, in_force);
    reading->roles_left_out = rules_state.roles_left_out;
  }
}

// Publishes what was read. No extension and no table mean that there are no rules.
void use_reading(const RuleSet& set, const Reading& reading) {
  const bool has_changed = !have_same_rules(shared_rules->set.current(), set);
  publish_rules(set);
  if (has_changed) report_rules(set.count);
  rules_state.roles_left_out = reading.roles_left_out;
  report_roles_left_out(reading.roles_left_out);
}

void read_rules_anew(MemoryContext context) {
  // Zero unless the last reading found something.
  if (rules_state.set->count > 0) memset(static_cast<void*>(rules_state.set), 0, sizeof(RuleSet));
  Reading reading{HistoryAccess::kNoExtension, 0};
  rules_state.changes = shared_rules->changes.load(std::memory_order_acquire);

  pgstat_report_activity(STATE_RUNNING, "pgleak: reading rules");
  set_interruptible(true);
  ErrorData* error =
      run_in_transaction(context, kTimeoutMs, [&reading] { read_rules_into(rules_state.set, &reading); });
  set_interruptible(false);
  pgstat_report_stat(true);
  pgstat_report_activity(STATE_IDLE, nullptr);

  const MonotonicTime now = monotonic_now();
  rules_state.read_at = now + (RecoveryInProgress() ? kShortPollInterval : kPollInterval);
  rules_state.retry_at = MonotonicTime::none();
  // A table that is locked, or that this library does not know, leaves the old rules in force.
  if (error == nullptr && reading.access != HistoryAccess::kLocked &&
      reading.access != HistoryAccess::kOtherVersion) {
    use_reading(*rules_state.set, reading);
    return;
  }
  if (error != nullptr && !worker_should_stop()) report_rules_error(error);
  // What was in the way may be gone soon, but it is not run into at every wake-up.
  rules_state.is_stale = rules_state.are_roles_stale = true;
  rules_state.retry_at = now + (error != nullptr ? kPollInterval : kShortPollInterval);
}

// True if it is time to look although nobody has told anything, and there may be something to find.
bool is_due(MonotonicTime now) {
  if (now < rules_state.read_at) return false;
  rules_state.read_at = now + kPollInterval;
  return may_have_changed(&rules_state.rows, now);
}

}  // namespace

void prepare_rules() {
  rules_state.set = static_cast<RuleSet*>(MemoryContextAllocZero(TopMemoryContext, sizeof(RuleSet)));
  rules_state.are_roles_stale = true;
  CacheRegisterSyscacheCallback(AUTHOID, note_role_change, 0);
  CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, note_role_change, 0);
  // A schema comes with CREATE EXTENSION and goes with DROP EXTENSION.
  CacheRegisterSyscacheCallback(NAMESPACEOID, note_schema_change, 0);
  CacheRegisterRelcacheCallback(note_table_change, 0);
}

Micros keep_rules_current(MemoryContext context) {
  MonotonicTime now = monotonic_now();
  if (now >= rules_state.listen_at) {
    // An empty transaction handles the messages that have come in.
    if (may_have_changed(&rules_state.news, now)) (void)run_in_transaction(context, kTimeoutMs, [] {});
    rules_state.listen_at = now + kListenInterval;
  }
  const bool is_told = shared_rules->changes.load(std::memory_order_acquire) != rules_state.changes;
  const bool is_stale = rules_state.is_stale || rules_state.are_roles_stale;
  if (now >= rules_state.retry_at && (is_told || is_stale || is_due(now))) read_rules_anew(context);
  now = monotonic_now();
  return Max(Min(rules_state.listen_at, Max(rules_state.read_at, rules_state.retry_at)) - now, Micros{0});
}

}  // namespace pgleak
