#include "late_ends.hpp"

#include "server/event_queue.hpp"
#include "server/postgres.hpp"
#include "server/shared_memory.hpp"

namespace pgleak {

namespace {

// So many slots hold an end; mostly none, and no look has to search for them.
int late_count = 0;

bool has_late_end(int index) {
  return session_slots[index].scanner.current().late_end.outcome != Outcome::kNone;
}

void set_late_end(int index, const Ending& ending) {
  session_slots[index].scanner.write([&ending](ScannerView* view) { view->late_end = ending; });
}

bool put_end(int index, const Ending& ending) {
  return put_event(EventKind::kEnded, index, session_slots[index].scanner.current().episode, "", ending);
}

}  // namespace

void prepare_late_ends() {
  late_count = 0;
  for (int i = 0; i < shared->slot_count; i++) late_count += has_late_end(i);
}

void hand_over_end(int index, const Ending& ending) {
  // Not past those that wait: they are older.
  if (late_count == 0 && put_end(index, ending)) return;
  set_late_end(index, ending);
  late_count++;
}

void hand_over_late_ends() {
  for (int i = 0; late_count > 0 && i < shared->slot_count; i++) {
    if (!has_late_end(i)) continue;
    if (!put_end(i, session_slots[i].scanner.current().late_end)) return;
    set_late_end(i, Ending{});
    late_count--;
  }
}

void give_up_late_end(int index) {
  if (late_count == 0 || !has_late_end(index)) return;
  if (!put_end(index, session_slots[index].scanner.current().late_end)) shared->counters.events_dropped++;
  set_late_end(index, Ending{});
  late_count--;
}

}  // namespace pgleak
