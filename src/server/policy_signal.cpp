#include "server/policy_signal.hpp"

#include "server/compat.hpp"
#include "server/shared_memory.hpp"

extern "C" {
#include "access/xact.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
}

namespace pgleak {

namespace {

bool is_changed = false;  // by the transaction that runs in this backend
bool is_registered = false;

// The recorder must see the rows when it is woken, so this waits for the commit. What a prepared transaction
// did the recorder finds when it looks by itself.
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

// As the table's owner, as foreign keys look at their tables: who may insert need not be allowed to read.
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
                    errmsg("pgleak.rules has room for %d enabled rules, not for %d", kMaxRules,
                           static_cast<int>(count)),
                    errhint("Delete or disable rules that are not needed any more, for example those whose "
                            "valid_until has passed.")));
  if (shared_rules == nullptr) return;
  if (!is_registered) {
    RegisterXactCallback(tell_recorder, nullptr);
    is_registered = true;
  }
  is_changed = true;
}

}  // namespace pgleak
