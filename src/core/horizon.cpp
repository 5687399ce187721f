#include "core/horizon.hpp"

#include <algorithm>

#include "core/text.hpp"

namespace pgleak {

namespace {

// Transaction ids wrap around: an id up to half the circle back is older.
std::int64_t age_of(std::uint32_t xid, std::uint32_t next_xid) {
  if (xid == 0) return -1;
  const std::int32_t age = static_cast<std::int32_t>(next_xid - xid);
  return age > 0 ? age : 0;
}

// The two horizons of a database, as ages of their oldest holders. 0 and less: nothing holds it back.
struct Horizons {
  std::int64_t tables;
  std::int64_t catalogs;
};

Horizons older_of(Horizons a, Horizons b) {
  return Horizons{std::max(a.tables, b.tables), std::max(a.catalogs, b.catalogs)};
}

// True if holders on a standby matter elsewhere than in the standby's replay.
bool counts_for_vacuum(HorizonScope scope) { return !scope.is_standby || scope.sends_feedback; }

bool delays_replay(const HorizonHolder& holder, HorizonScope scope) {
  return scope.is_standby && holder.kind != HorizonKind::kReplicationSlot &&
         holder.kind != HorizonKind::kStandbyFeedback;
}

Horizons held_by(const HorizonHolder& holder, std::uint32_t next_xid, HorizonScope scope) {
  if (!counts_for_vacuum(scope) && !delays_replay(holder, scope)) return Horizons{-1, -1};
  const std::int64_t tables = std::max(age_of(holder.xid, next_xid), age_of(holder.xmin, next_xid));
  return Horizons{tables, std::max(tables, age_of(holder.catalog_xmin, next_xid))};
}

bool is_oldest(Horizons held, Horizons oldest) {
  return (held.tables > 0 && held.tables >= oldest.tables) ||
         (held.catalogs > 0 && held.catalogs >= oldest.catalogs);
}

void append_word(TextBuffer* out, const char* word) {
  if (out->length() > 0) out->append(", ");
  out->append(word);
}

// As quote_literal() does, so the statement says what it said, whatever the name contains.
void append_literal(TextBuffer* out, const char* text) {
  bool has_backslash = false;
  for (const char* c = text; *c != '\0'; c++) has_backslash |= *c == '\\';
  out->append(has_backslash ? "E'" : "'");
  for (const char* c = text; *c != '\0'; c++) {
    const char piece[] = {*c, *c == '\'' || *c == '\\' ? *c : '\0', '\0'};
    out->append(piece);
  }
  out->append("'");
}

void append_call(TextBuffer* out, const char* function, int pid) {
  out->append("SELECT ");
  out->append(function);
  out->append("(");
  out->append_number(pid);
  out->append(")");
}

void append_quoted(TextBuffer* out, const char* name) {
  out->append("\"");
  out->append_escaped(name, true);
  out->append("\"");
}

void append_process_remedy(TextBuffer* out, const HolderIdentity& who) {
  if (who.kind == HorizonKind::kBackgroundWorker)
    append_call(out, who.is_autovacuum ? "pg_cancel_backend" : "pg_terminate_backend", who.pid);
  else if (!who.is_client_backend)
    append_call(out, "pg_terminate_backend", who.pid);
  else
    append_call(out, who.is_idle ? "pgleak.terminate" : "pgleak.cancel", who.pid);
}

void append_standby_remedy(TextBuffer* out, const HolderIdentity& who) {
  out->append("end the session that pgleak.horizon shows on standby ");
  append_quoted(out, who.client);
}

void append_slot_remedy(TextBuffer* out, const HolderIdentity& who) {
  if (who.is_synced) {
    out->append("drop the slot on the primary, from where it is synchronized");
  } else if (who.is_temporary) {
    append_call(out, "pg_terminate_backend", who.pid);
  } else if (who.pid == 0) {
    out->append("SELECT pg_drop_replication_slot(");
    append_literal(out, who.name);
    out->append(")");
  } else if (who.is_logical) {
    out->append("let consumer ");
    append_quoted(out, who.client);
    out->append(" catch up, or end the transaction that it waits for");
  } else {
    out->append("let standby ");
    append_quoted(out, who.client);
    out->append(who.has_xmin ? " catch up, and end the session that pgleak.horizon shows there"
                             : " catch up");
  }
}

}  // namespace

const char* to_string(HorizonKind kind) {
  switch (kind) {
    case HorizonKind::kSession:
      return "session";
    case HorizonKind::kPreparedTransaction:
      return "prepared transaction";
    case HorizonKind::kReplicationSlot:
      return "replication slot";
    case HorizonKind::kStandbyFeedback:
      return "standby feedback";
    case HorizonKind::kBackgroundWorker:
      return "background worker";
  }
  return "session";
}

// Sorted by database, those that hold every database come first, and then each database is one run.
void find_oldest(HorizonHolder* holders, int count, std::uint32_t next_xid, HorizonScope scope) {
  if (scope.is_standby)
    for (int i = 0; i < count; i++) holders[i].database = 0;
  std::sort(holders, holders + count,
            [](const HorizonHolder& a, const HorizonHolder& b) { return a.database < b.database; });
  Horizons everywhere{0, 0};
  for (int first = 0, end = 0; first < count; first = end) {
    Horizons oldest = everywhere;
    for (end = first; end < count && holders[end].database == holders[first].database; end++)
      oldest = older_of(oldest, held_by(holders[end], next_xid, scope));
    if (holders[first].database == 0) everywhere = oldest;
    for (int i = first; i < end; i++) {
      HorizonHolder& holder = holders[i];
      holder.is_oldest = is_oldest(held_by(holder, next_xid, scope), oldest);
      holder.age = std::max({age_of(holder.xid, next_xid), age_of(holder.xmin, next_xid),
                             age_of(holder.catalog_xmin, next_xid)});
    }
  }
}

void describe_held(const HorizonHolder& holder, HorizonScope scope, char (&text)[kHeldSize]) {
  TextBuffer out(text, sizeof(text));
  const bool has_rows = holder.xid != 0 || holder.xmin != 0;
  if (delays_replay(holder, scope)) append_word(&out, "replay");
  if (counts_for_vacuum(scope)) {
    if (has_rows) append_word(&out, "tables");
    if (has_rows || holder.catalog_xmin != 0) append_word(&out, "catalogs");
  }
  if (holder.keeps_wal) append_word(&out, "WAL");
}

void describe_remedy(const HolderIdentity& who, char (&text)[kHorizonRemedySize]) {
  TextBuffer out(text, sizeof(text));
  switch (who.kind) {
    case HorizonKind::kSession:
    case HorizonKind::kBackgroundWorker:
      append_process_remedy(&out, who);
      break;
    case HorizonKind::kPreparedTransaction:
      out.append("ROLLBACK PREPARED ");
      append_literal(&out, who.name);
      if (!who.is_in_this_database) out.append(" -- in its own database");
      break;
    case HorizonKind::kReplicationSlot:
      append_slot_remedy(&out, who);
      break;
    case HorizonKind::kStandbyFeedback:
      append_standby_remedy(&out, who);
      break;
  }
}

}  // namespace pgleak
