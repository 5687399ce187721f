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

// How often the recorder processes invalidation messages, if any transaction may have sent some.
constexpr Micros kListenInterval = kSecond;

// How often it reads the table without being notified, if any transaction has written something since. Some
// changes fire no trigger, such as a restore with triggers disabled, or COMMIT PREPARED. The short interval
// applies on a standby, which sees no triggers at all, and while the table is locked.
constexpr Micros kPollInterval = 5 * kSecond;
constexpr Micros kShortPollInterval = kSecond;

struct RulesState {
  bool is_stale;          // the table itself has changed
  bool are_roles_stale;   // some role or membership has changed
  Oid table;              // as of the last read
  std::uint64_t changes;  // of the table, as of the last read
  ChangeWatch news;       // messages to process
  ChangeWatch rows;       // changes to read
  MonotonicTime listen_at;
  MonotonicTime read_at;   // even if nothing seems to have changed
  MonotonicTime retry_at;  // after a failure: no attempt before that; none: the last read succeeded
  std::int64_t roles_left_out;
  RuleSet* set;  // buffer for reading; all zero before that, padding included
};

RulesState rules_state;

// The server calls this wherever it handles invalidation messages, so it may only set a flag.
void note_schema_change(Datum, compat::SyscacheId, uint32) { rules_state.is_stale = true; }

void note_role_change(Datum, compat::SyscacheId, uint32) { rules_state.are_roles_stale = true; }

void note_table_change(Datum, Oid table) {
  if (!OidIsValid(table) || table == rules_state.table) rules_state.is_stale = true;
}

// What one read has found.
struct Reading {
  HistoryAccess access;
  std::int64_t roles_left_out;
};

void copy_role_members(RuleSet* set, const RuleSet& from) {
  set->role_count = from.role_count;
  memcpy(set->roles, from.roles, sizeof(set->roles));
  memcpy(static_cast<void*>(set->satisfied_by), from.satisfied_by, sizeof(set->satisfied_by));
}

// The body of the transaction. The server reports role changes reliably, so while it has reported none and
// the rules are the same, the members are the same too.
void read_rules_into(RuleSet* set, Reading* reading) {
  // By now the server has reported everything committed so far, and later snapshots will see it.
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

// Publishes what was read. If the extension or the table does not exist, there are no rules.
void use_reading(const RuleSet& set, const Reading& reading) {
  const bool has_changed = !have_same_rules(shared_rules->set.current(), set);
  publish_rules(set);
  if (has_changed) report_rules(set.count);
  rules_state.roles_left_out = reading.roles_left_out;
  report_roles_left_out(reading.roles_left_out);
}

void reload_rules(MemoryContext context) {
  // It is all zero unless the last read found rules.
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
  // If the table is locked, or does not match this library, the previous rules stay in force.
  if (error == nullptr && reading.access != HistoryAccess::kLocked &&
      reading.access != HistoryAccess::kOtherVersion) {
    use_reading(*rules_state.set, reading);
    return;
  }
  if (error != nullptr && !worker_should_stop()) report_rules_error(error);
  // The obstacle may be gone soon, but do not run into it at every wake-up.
  rules_state.is_stale = rules_state.are_roles_stale = true;
  rules_state.retry_at = now + (error != nullptr ? kPollInterval : kShortPollInterval);
}

// True if it is time to read without a notification, and something may have changed.
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
  // CREATE EXTENSION creates a schema and DROP EXTENSION removes it.
  CacheRegisterSyscacheCallback(NAMESPACEOID, note_schema_change, 0);
  CacheRegisterRelcacheCallback(note_table_change, 0);
}

Micros keep_rules_current(MemoryContext context) {
  MonotonicTime now = monotonic_now();
  if (now >= rules_state.listen_at) {
    // An empty transaction processes the messages that have arrived.
    if (may_have_changed(&rules_state.news, now)) (void)run_in_transaction(context, kTimeoutMs, [] {});
    rules_state.listen_at = now + kListenInterval;
  }
  const bool is_told = shared_rules->changes.load(std::memory_order_acquire) != rules_state.changes;
  const bool is_stale = rules_state.is_stale || rules_state.are_roles_stale;
  if (now >= rules_state.retry_at && (is_told || is_stale || is_due(now))) reload_rules(context);
  now = monotonic_now();
  return Max(Min(rules_state.listen_at, Max(rules_state.read_at, rules_state.retry_at)) - now, Micros{0});
}

}  // namespace pgleak
