#include "pg/lock_names.hpp"

#include "core/text.hpp"
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

namespace {

void append_relation(TextBuffer* out, const LOCKTAG& tag, const char* relation) {
  if (tag.locktag_type == LOCKTAG_TUPLE) out->append("a row of ");
  if (relation != nullptr) return out->append_escaped(relation, false);
  out->append("relation ");
  out->append_number(tag.locktag_field2);
}

// As the caller of pg_advisory_lock() gave it: one number, or two.
void append_advisory(TextBuffer* out, const LOCKTAG& tag) {
  out->append("advisory lock ");
  if (tag.locktag_field4 == 1) {
    out->append_number(
        static_cast<int64>(static_cast<uint64>(tag.locktag_field2) << 32 | tag.locktag_field3));
    return;
  }
  out->append("(");
  out->append_number(static_cast<int32>(tag.locktag_field2));
  out->append(", ");
  out->append_number(static_cast<int32>(tag.locktag_field3));
  out->append(")");
}

}  // namespace

void write_lock(const LOCKTAG& tag, int mode, const char* relation, char (&text)[kLockTextSize]) {
  TextBuffer out(text, sizeof(text));
  const LockTagType type = static_cast<LockTagType>(tag.locktag_type);
  if (type == LOCKTAG_TRANSACTION) {
    // What others wait for is a row that the transaction has locked.
    out.append("locks on rows (transaction ");
    out.append_number(tag.locktag_field1);
    return out.append(")");
  }
  const char* const mode_name = lock_mode_name(tag, mode);
  if (mode_name != nullptr) {
    out.append(mode_name);
    out.append(" on ");
  }
  if (is_relation_lock(tag)) return append_relation(&out, tag, relation);
  if (type == LOCKTAG_ADVISORY) return append_advisory(&out, tag);
  out.append(lock_type_name(tag));
}

}  // namespace pgleak
