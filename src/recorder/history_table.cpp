#include "core/version.hpp"
#include "recorder/history.hpp"

extern "C" {
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "rewrite/prs2lock.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
}

namespace pgleak {

namespace {

// The version of the extension, and its table if the table belongs to it: having the right name is not
// enough.
constexpr char kFindTable[] =
    "SELECT e.extversion, c.oid, c.relowner"
    " FROM pg_catalog.pg_extension e"
    " LEFT JOIN (pg_catalog.pg_depend d"
    "            JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relname = $1 AND c.relkind = 'r'"
    "            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'pgleak')"
    "   ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'e'"
    "   AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid"
    " WHERE e.extname = 'pgleak'";

struct Finding {
  HistoryAccess access;
  Oid table;
  Oid owner;
};

Oid oid_column(int number) {
  bool is_null = false;
  const Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number, &is_null);
  return is_null ? InvalidOid : DatumGetObjectId(value);
}

Finding find_table(const char* name) {
  static SPIPlanPtr plan = nullptr;
  Finding finding{HistoryAccess::kNoExtension, InvalidOid, InvalidOid};

  SPI_connect();
  PushActiveSnapshot(GetTransactionSnapshot());
  if (plan == nullptr) {
    Oid types[] = {NAMEOID};
    SPIPlanPtr fresh = SPI_prepare(kFindTable, 1, types);
    if (fresh == nullptr || SPI_keepplan(fresh) != 0)
      ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
                      errmsg("pgleak: could not prepare a statement to find its table")));
    plan = fresh;
  }
  NameData table_name;
  namestrcpy(&table_name, name);
  Datum values[] = {NameGetDatum(&table_name)};
  if (SPI_execute_plan(plan, values, nullptr, true, 1) == SPI_OK_SELECT && SPI_processed == 1) {
    const char* version = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
    finding.table = oid_column(2);
    finding.owner = oid_column(3);
    if (version == nullptr || strcmp(version, kExtensionVersion) != 0)
      finding.access = HistoryAccess::kOtherVersion;
    else
      finding.access = OidIsValid(finding.table) ? HistoryAccess::kReady : HistoryAccess::kNoTable;
  }
  PopActiveSnapshot();
  SPI_finish();
  return finding;
}

Oid history = InvalidOid;  // as last opened

// The recorder's own user and settings nest level while no table is open.
Oid saved_user = InvalidOid;
int saved_security_context = 0;
int settings_level = 0;

// True if the name still means the locked table, which may have been dropped or renamed before the lock.
bool is_still(Oid table, const char* name) {
  const Oid schema = get_namespace_oid("pgleak", true);
  return OidIsValid(schema) && get_relname_relid(name, schema) == table;
}

HistoryAccess open_table(const char* name, LOCKMODE lock, Oid* table) {
  Assert(MyBackendType == B_BG_WORKER && IsTransactionState());
  const Finding finding = find_table(name);
  *table = finding.table;
  if (finding.access != HistoryAccess::kReady) return finding.access;
  // No snapshot is held here, so retrying later does not hold back VACUUM.
  if (!ConditionalLockRelationOid(finding.table, lock)) return HistoryAccess::kLocked;
  if (!is_still(finding.table, name)) return HistoryAccess::kNoTable;

  settings_level = NewGUCNestLevel();
  GetUserIdAndSecContext(&saved_user, &saved_security_context);
  SetUserIdAndSecContext(finding.owner, SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
  return HistoryAccess::kReady;
}

// Also reverts what the owner's code has set. With a search_path left behind, the recorder's own statements,
// which run as a superuser, would call that owner's operators. After an ERROR, the end of the transaction
// does both.
void close_table() {
  AtEOXact_GUC(false, settings_level);
  SetUserIdAndSecContext(saved_user, saved_security_context);
}

}  // namespace

HistoryAccess open_history() { return open_table("history", RowExclusiveLock, &history); }

bool has_history_rules() {
  Assert(OidIsValid(history) && IsTransactionState());
  bool found = false;
  Relation relation = table_open(history, NoLock);
  const RuleLock* const rules = relation->rd_rules;
  for (int i = 0; rules != nullptr && i < rules->numLocks; i++)
    found |= rules->rules[i]->event == CMD_INSERT || rules->rules[i]->event == CMD_UPDATE;
  table_close(relation, NoLock);
  return found;
}

HistoryAccess open_samples(const char* name) {
  Oid samples = InvalidOid;
  return open_table(name, RowExclusiveLock, &samples);
}

HistoryAccess open_rules(Oid* table) { return open_table("rules", AccessShareLock, table); }

void close_rules() { close_table(); }

void close_history() {
  SPI_connect();
  if (SPI_execute("SET CONSTRAINTS ALL IMMEDIATE", false, 0) != SPI_OK_UTILITY)
    ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("pgleak: could not fire deferred triggers")));
  SPI_finish();
  close_table();
}

}  // namespace pgleak
