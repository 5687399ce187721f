#include "pg/lock_names.hpp"

#include "pg/replay_conflict.hpp"

extern "C" {
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
}

namespace pgleak {

const char* lock_type_name(const LOCKTAG& tag) {
  switch (replay_conflict_of(tag)) {
    case ReplayConflict::kSnapshot:
      return "RecoveryConflictSnapshot";
    case ReplayConflict::kTablespace:
      return "RecoveryConflictTablespace";
    case ReplayConflict::kNone:
      break;
  }
  return tag.locktag_type <= LOCKTAG_LAST_TYPE ? LockTagTypeNames[tag.locktag_type] : "unknown";
}

const char* lock_mode_name(const LOCKTAG& tag, int mode) {
  if (mode == NoLock) return nullptr;
  return GetLockmodeName(tag.locktag_lockmethodid, mode);
}

bool is_relation_lock(const LOCKTAG& tag) {
  switch (static_cast<LockTagType>(tag.locktag_type)) {
    case LOCKTAG_RELATION:
    case LOCKTAG_RELATION_EXTEND:
    case LOCKTAG_PAGE:
    case LOCKTAG_TUPLE:
      return true;
    default:
      return false;
  }
}

// The database is 0 for a relation that all databases share.
char* relation_name(const LOCKTAG& tag) {
  const Oid database = tag.locktag_field1;
  const Oid relation = tag.locktag_field2;
  if (database == InvalidOid || database == MyDatabaseId) {
    char* const name = get_rel_name(relation);
    char* const schema = name == nullptr ? nullptr : get_namespace_name(get_rel_namespace(relation));
    if (schema != nullptr) return quote_qualified_identifier(schema, name);
  }
  return psprintf("%u", relation);
}

}  // namespace pgleak
