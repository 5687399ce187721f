// Owns: the C functions about rules: pgleak.limits_for() and the trigger on pgleak.rules.
// Called by any session. They read shared memory; permissions beyond GRANT are checked here.

#include "core/limits.hpp"
#include "server/policy_signal.hpp"
#include "server/postgres.hpp"
#include "server/row.hpp"
#include "server/session_limits.hpp"
#include "server/session_lookup.hpp"
#include "server/settings.hpp"

extern "C" {
#include "commands/trigger.h"
#include "funcapi.h"

PG_FUNCTION_INFO_V1(pgleak_limits_for);
PG_FUNCTION_INFO_V1(pgleak_note_rule_change);
}

namespace pgleak {

namespace {

void add_limits(ReturnSetInfo* result, int pid) {
  StatusEntry entry{};
  const int index = find_client_backend(pid, &entry);
  if (!may_see_details(entry.role_oid))
    ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                    errmsg("permission denied to see the limits of the session with PID %d", pid),
                    errdetail("Only members of the role that owns the session, or of pg_read_all_stats, may "
                              "do that.")));
  const Limits limits = explain_limits(index, entry);
  for (int i = 0; i < kLimitCount; i++) {
    Row row(result);
    row.add_text(limit_setting_name(i));
    row.add_duration(limits.value[i]);
    row.add_text(name_of(limits.source[i], limits.rule_id).text);
    row.finish();
  }
}

}  // namespace

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
