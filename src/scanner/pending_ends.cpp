#include "pg/postgres.hpp"
#include "scanner/episodes.hpp"
#include "shmem/event_queue.hpp"
#include "shmem/shared_memory.hpp"

namespace pgleak {

namespace {

// So many slots hold an end; mostly none, and no look has to search for them.
int pending_count = 0;

bool has_pending_end(int index) {
  return session_slots[index].scanner.current().pending_end.outcome != Outcome::kNone;
}

void set_pending_end(int index, const Ending& ending) {
  session_slots[index].scanner.write([&ending](SessionRecord* view) { view->pending_end = ending; });
}

bool put_end(int index, const Ending& ending) {
  return put_event(EventKind::kEnded, index, session_slots[index].scanner.current().episode, "", ending);
}

}  // namespace

void prepare_pending_ends() {
  pending_count = 0;
  for (int i = 0; i < shared->slot_count; i++) pending_count += has_pending_end(i);
}

void queue_end(int index, const Ending& ending) {
  // Not past those that wait: they are older.
  if (pending_count == 0 && put_end(index, ending)) return;
  set_pending_end(index, ending);
  pending_count++;
}

void queue_pending_ends() {
  for (int i = 0; pending_count > 0 && i < shared->slot_count; i++) {
    if (!has_pending_end(i)) continue;
    if (!put_end(i, session_slots[i].scanner.current().pending_end)) return;
    set_pending_end(i, Ending{});
    pending_count--;
  }
}

void drop_pending_end(int index) {
  if (pending_count == 0 || !has_pending_end(index)) return;
  if (!put_end(index, session_slots[index].scanner.current().pending_end)) shared->counters.events_dropped++;
  set_pending_end(index, Ending{});
  pending_count--;
}

}  // namespace pgleak
