#include "server/live_leaks.hpp"

#include "server/clock.hpp"
#include "server/compat.hpp"
#include "server/settings.hpp"

extern "C" {
#include "miscadmin.h"
#include "utils/memutils.h"
}

namespace pgleak {

namespace {

// How often a session may change while we look at it, which takes a few microseconds: far less than a
// statement.
constexpr int kLookTries = 1000;

// What a query has seen. Queries can be nested, so there is a list of them.
struct QueryLook {
  MemoryContextCallback at_end;
  const EState* query;
  const LiveLeak* leaks;
  QueryLook* next;
};
QueryLook* query_looks = nullptr;

void forget_look(void* argument) {
  for (QueryLook** link = &query_looks; *link != nullptr; link = &(*link)->next) {
    if (*link != argument) continue;
    *link = (*link)->next;
    return;
  }
}

enum class LookResult : std::uint8_t {
  kSeen,
  kNoLeak,
  kMoved,  // the session changed while we looked: what was read does not belong together
};

// Whether the transaction of the episode is over, though the scanner has yet to notice.
bool is_over(const ScannerView& view, const SessionSample& sample) {
  const Episode& episode = view.episode;
  if (sample.ended_count <= episode.generation) return false;
  const Block block = current_block(sample);
  if (block.exists && block.generation == episode.generation) return false;
  // In the middle of a rollback in place it is over, but the session does not show its aborted block yet.
  const bool is_being_cancelled =
      episode.action.result == ActionResult::kRequested && is_idle_in_transaction(sample.state) &&
      sample.ended_count == episode.generation + 1 && sample.last_end == TransactionEnd::kRolledBack;
  return !is_being_cancelled;
}

// Looks at the session of slot `index`. Its state, its statement and its trail are of one moment.
LookResult look_at(int index, Now now, LiveLeak* leak, char* statement, TrailEntry* trail) {
  const SessionSlot& slot = session_slots[index];
  const std::uint32_t version = status_version(index);
  if (!slot.scanner.read(&leak->view)) return LookResult::kMoved;
  if (!leak->view.is_open) return LookResult::kNoLeak;

  const Episode& episode = leak->view.episode;
  const TransactionReport report = slot.guest.report();
  if (read_status(index, &leak->entry) == StatusRead::kUnused || leak->entry.id != episode.session)
    return LookResult::kNoLeak;
  if (!read_status_strings(index, episode.session, &leak->who, statement, pgstat_track_activity_query_size,
                           &leak->statement_length))
    return LookResult::kMoved;
  leak->trail_length = read_trail(index, episode.generation, trail);
  if (status_version(index) != version || slot.guest.report().ended_count != report.ended_count)
    return LookResult::kMoved;

  const SessionSample sample{leak->entry.id,          leak->entry.state,  leak->entry.xact_start,
                             leak->entry.state_start, report.ended_count, report.last_end,
                             report.last_end_start};
  if (is_over(leak->view, sample)) return LookResult::kNoLeak;
  const PreviousLook never{};
  leak->ages = read_clocks(&leak->view.watch, sample, current_block(sample), now, never);
  return LookResult::kSeen;
}

bool look_until_seen(int index, Now now, LiveLeak* leak, char* statement, TrailEntry* trail) {
  for (int i = 0; i < kLookTries; i++) {
    const LookResult result = look_at(index, now, leak, statement, trail);
    if (result != LookResult::kMoved) return result == LookResult::kSeen;
  }
  return false;  // its backend was stopped in mid-change; better no row than one that never was true
}

template <typename Element>
Element* copy_of(const Element* elements, int count) {
  const Size size = static_cast<Size>(count) * sizeof(Element);
  return static_cast<Element*>(memcpy(palloc(size), elements, size));
}

// Everything in the current memory context.
const LiveLeak* look_at_all() {
  const Now now = read_clocks();
  const LiveLeak* first = nullptr;
  const LiveLeak** link = &first;
  char* statement = static_cast<char*>(palloc(static_cast<Size>(pgstat_track_activity_query_size)));
  TrailEntry trail[kMaxTrailSize];
  for (int i = 0; i < shared->slot_count; i++) {
    LiveLeak leak{};
    if (!look_until_seen(i, now, &leak, statement, trail)) continue;
    leak.statement = copy_of(statement, leak.statement_length + 1);
    leak.trail = copy_of(trail, leak.trail_length);
    LiveLeak* kept = copy_of(&leak, 1);
    *link = kept;
    link = &kept->next;
  }
  pfree(statement);
  return first;
}

}  // namespace

const LiveLeak* live_leaks(EState* query) {
  if (query == nullptr) return look_at_all();
  for (const QueryLook* look = query_looks; look != nullptr; look = look->next)
    if (look->query == query) return look->leaks;

  MemoryContext caller = MemoryContextSwitchTo(query->es_query_cxt);
  QueryLook* look = static_cast<QueryLook*>(palloc0(sizeof(QueryLook)));
  look->query = query;
  look->leaks = look_at_all();
  look->next = query_looks;
  look->at_end.func = forget_look;
  look->at_end.arg = look;
  // From here on nothing can fail: the list must never hold what the end of the query does not take out of
  // it.
  MemoryContextRegisterResetCallback(query->es_query_cxt, &look->at_end);
  query_looks = look;
  MemoryContextSwitchTo(caller);
  return look->leaks;
}

}  // namespace pgleak
