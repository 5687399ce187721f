// The C functions about rules: pgleak.limits_for() and the trigger on pgleak.rules.
//
// Any session may call pgleak.limits_for(), which reads shared memory only and checks permissions beyond
// GRANT itself. The trigger counts the enabled rules and wakes the recorder at commit.

#include "core/limits.hpp"
#include "functions/functions.hpp"
#include "pg/backend_status.hpp"
#include "pg/clock.hpp"
#include "pg/compat.hpp"
#include "pg/lock_table.hpp"
#include "pg/postgres.hpp"
#include "pg/row.hpp"
#include "pg/settings.hpp"
#include "pg/worker.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "commands/trigger.h"
#include "funcapi.h"
PG_FUNCTION_INFO_V1(pgleak_limits_for);
PG_FUNCTION_INFO_V1(pgleak_note_rule_change);
#include "access/xact.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
}

namespace pgleak {

namespace {

// Outside the scanner, the lock table is read again at each call.
Impact impact_outside_scanner(int index, SessionId session) {
  static bool is_prepared = false;
  if (!is_prepared) prepare_lock_waits();
  is_prepared = true;
  forget_lock_waits(published_replay_wait());
  BackendOwner owner;
  HeldResources held;
  if (!session_slot(index).backend.read_owner(session, &owner)) return Impact::kNone;
  if (!read_held_resources(owner.proc_index, session.pid, &held)) return Impact::kNone;
  held.listens = session_slot(index).backend.listens();
  return grade(held);
}

// The server's own values, which may differ from those of this session.
LimitValues server_limits() {
  LimitValues limits{};
  for (int i = 0; i < kLimitCount; i++) limits.value[i] = shared->server_limits[i].load();
  return limits;
}

// Copies the rules in force. The recorder changes them within microseconds, unless it is stopped in the
// middle.
void copy_rules(RuleSet* set) {
  constexpr int kTries = 1000;
  for (int i = 0; i < kTries; i++) {
    if (read_rules(set)) return;
    CHECK_FOR_INTERRUPTS();
    pg_usleep(1000);
  }
  ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
                  errmsg("could not read the rules of pgleak because they are being changed"),
                  errhint("Try again.")));
}

Limits explain_limits(int index, const StatusEntry& entry) {
  RuleSet* const set = static_cast<RuleSet*>(palloc(sizeof(RuleSet)));
  copy_rules(set);
  Match match{};
  if (set->count > 0 && !match_session(*set, index, entry, wall_now(), &match))
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("session with PID %d is starting up or has ended", entry.id.pid)));
  const Impact impact =
      depends_on_impact(*set, match.rules) ? impact_outside_scanner(index, entry.id) : Impact::kNone;
  const Limits limits =
      choose_limits(*set, match.rules, session_slot(index).backend.own_limits(), server_limits(), impact);
  pfree(set);
  return limits;
}

void add_limits(ReturnSetInfo* result, int pid) {
  StatusEntry entry{};
  const std::optional<int> index = find_client_backend(pid, &entry);
  if (!index) return;
  if (!may_see_details(entry.role_oid))
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                    errmsg("permission denied to view limits of session with PID %d", pid),
                    errdetail("Only members of the session's role or of pg_read_all_stats may do this.")));
  const Limits limits = explain_limits(*index, entry);
  for (int i = 0; i < kLimitCount; i++) {
    Row row(result);
    row.add_text(limit_setting_name(i));
    row.add_duration(limits.value[i]);
    row.add_text(name_of(limits.source[i], limits.rule_id).text);
    row.finish();
  }
}

}  // namespace

namespace {

bool is_changed = false;  // by the transaction running in this backend
bool is_registered = false;

// Waits for the commit, because the recorder must see the rows when it wakes. Changes in a prepared
// transaction wait for the recorder's next poll.
void tell_recorder(XactEvent event, void*) {
  if (!is_changed) return;
  switch (event) {
    case XACT_EVENT_COMMIT:
      is_changed = false;
      shared_rules->changes.fetch_add(1, std::memory_order_release);
      wake_worker(shared->recorder_proc);
      break;
    case XACT_EVENT_ABORT:
    case XACT_EVENT_PREPARE:
      is_changed = false;
      break;
    default:
      break;
  }
}

// Runs as the table's owner, as foreign key checks do, because a role that may insert need not be allowed to
// read.
std::int64_t count_enabled_rules(Relation table) {
  Oid saved_user = InvalidOid;
  int saved_context = 0;
  GetUserIdAndSecContext(&saved_user, &saved_context);
  SetUserIdAndSecContext(table->rd_rel->relowner, saved_context | SECURITY_LOCAL_USERID_CHANGE |
                                                      SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
  const char* const name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(table)),
                                                      RelationGetRelationName(table));
  SPI_connect();
  bool is_null = true;
  Datum count = 0;
  if (SPI_execute(psprintf("SELECT pg_catalog.count(*) FROM ONLY %s WHERE enabled", name), false, 1) ==
          SPI_OK_SELECT &&
      SPI_processed == 1)
    count = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
  const std::int64_t result = is_null ? 0 : DatumGetInt64(count);
  SPI_finish();
  SetUserIdAndSecContext(saved_user, saved_context);
  return result;
}

}  // namespace

void note_rule_change(const TriggerData* trigger) {
  const bool may_have_grown =
      TRIGGER_FIRED_BY_INSERT(trigger->tg_event) || TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
  const std::int64_t count = may_have_grown ? count_enabled_rules(trigger->tg_relation) : 0;
  if (count > kMaxRules)
    ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                    errmsg("pgleak.rules cannot have more than %d enabled rules, found %d", kMaxRules,
                           static_cast<int>(count)),
                    errhint("Delete or disable rules that are no longer needed, such as those whose "
                            "valid_until has passed.")));
  if (shared_rules == nullptr) return;
  if (!is_registered) {
    RegisterXactCallback(tell_recorder, nullptr);
    is_registered = true;
  }
  is_changed = true;
}

}  // namespace pgleak

Datum pgleak_limits_for(PG_FUNCTION_ARGS) {
  pgleak::require_preloading();
  InitMaterializedSRF(fcinfo, 0);
  pgleak::add_limits(reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo), PG_GETARG_INT32(0));
  return 0;
}

Datum pgleak_note_rule_change(PG_FUNCTION_ARGS) {
  if (!CALLED_AS_TRIGGER(fcinfo))
    ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                    errmsg("pgleak.note_rule_change() must be called as a trigger")));
  pgleak::note_rule_change(reinterpret_cast<const TriggerData*>(fcinfo->context));
  return 0;
}
