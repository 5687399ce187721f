#include "functions/prepared_leaks.hpp"

#include "functions/functions.hpp"
#include "pg/clock.hpp"
#include "pg/contention_json.hpp"
#include "pg/encoding.hpp"
#include "pg/prepared_proc.hpp"
#include "shmem/shared_memory.hpp"

extern "C" {
#include "utils/builtins.h"
}

namespace pgleak {

struct LivePrepared {
  PreparedRecord record;
  Contention contention;  // leak_id 0: nothing is known
  std::optional<Micros> age;
  const LivePrepared* next;
};

namespace {

// The age grows from scan to scan, and from the last one to now.
std::optional<Micros> age_now(const PreparedRecord& record, Now now) {
  const PreparedClocks& clocks = record.clocks;
  if (clocks.prepared.first_sight_at.is_set())
    return clocks.prepared.age_at_first_sight + (now.monotonic - clocks.prepared.first_sight_at);
  if (!clocks.first_seen.is_set()) return std::nullopt;
  return now.monotonic - clocks.first_seen;
}

// Returns false if there is none, or if it is over and the scanner has not noticed yet.
bool read_prepared(int place, Now now, LivePrepared* leak) {
  const PreparedSlot& slot = prepared_slot(place);
  if (!slot.scanner.read(&leak->record) || !leak->record.is_open) return false;
  if (prepared_xid(place) != leak->record.episode.progress.worst.xid) return false;
  if (!slot.contention.read(&leak->contention) || leak->contention.leak_id != leak->record.episode.leak_id)
    leak->contention = Contention{};
  leak->age = age_now(leak->record, now);
  return true;
}

// In the encoding of this database, as everything that a statement is made of has to be.
char* remedy_for(const PreparedRecord& record) {
  char statement[kRemedySize];
  if (record.gid[0] == '\0') return nullptr;
  write_remedy(record.gid, statement);
  return to_database_encoding(statement, static_cast<int>(strlen(statement)), record.episode.who.encoding);
}

void add_gid(Row* row, const PreparedRecord& record) {
  if (record.gid[0] == '\0') return row->add_null();
  row->add_foreign_text(record.gid, record.episode.who.encoding);
}

// The columns of pgleak.read_leaks(), in its order. Who may not see more sees what pg_prepared_xacts shows to
// everybody.
void add_row(Row* row, const LivePrepared& leak) {
  const Episode& episode = leak.record.episode;
  row->add_int64(episode.leak_id);
  row->add_text(to_string(episode.kind));
  row->add_null();  // pid
  add_gid(row, leak.record);
  row->add_foreign_text(episode.who.database, episode.who.encoding);
  row->add_foreign_text(episode.who.role, episode.who.encoding);
  if (!may_see_details(episode.who.role_oid)) {
    row->add_nulls(40);
    row->add_text("<insufficient privilege>");
    row->add_nulls(4);
    return;
  }
  row->add_nulls(5);  // application_name to xact_start
  row->add_time(episode.prepared_at);
  row->add_nulls(4);  // state to idle_for
  row->add_duration(leak.age);
  row->add_text(to_string(episode.clock));
  row->add_time(episode.detected_at);
  row->add_duration(episode.leak_after);
  row->add_text(name_of(episode.limit_source, episode.rule_id).text);
  add_impact(row, leak.record.impact);
  row->add_jsonb(held_json(leak.contention.held));
  row->add_jsonb(waiting_json(leak.contention.waiting, may_see_details));
  add_effects(row, episode.progress.effects);
  add_autovacuum_skipped(row, leak.contention);
  row->add_nulls(4);  // client_gone to action_held_by
  row->add_text(remedy_for(leak.record));
  row->add_nulls(10);  // declared to trail
}

}  // namespace

const LivePrepared* read_all_prepared() {
  const Now now = read_clocks();
  const LivePrepared* first = nullptr;
  for (int place = prepared_place_count() - 1; place >= 0; place--) {
    LivePrepared leak{};
    if (!read_prepared(place, now, &leak)) continue;
    leak.next = first;
    first = static_cast<LivePrepared*>(memcpy(palloc(sizeof(leak)), &leak, sizeof(leak)));
  }
  return first;
}

void add_prepared_leaks(ReturnSetInfo* result, const LivePrepared* first) {
  for (const LivePrepared* leak = first; leak != nullptr; leak = leak->next) {
    Row row(result);
    add_row(&row, *leak);
    row.finish();
  }
}

}  // namespace pgleak
