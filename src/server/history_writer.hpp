// Owns: the statements that change pgleak.history, and the notifications that go with them.
// Called by the recorder inside a transaction, after open_history() said kReady. All may ereport.
#ifndef PGLEAK_SERVER_HISTORY_WRITER_HPP
#define PGLEAK_SERVER_HISTORY_WRITER_HPP

#include <cstdint>

#include "core/time.hpp"
#include "server/event_queue.hpp"

namespace pgleak {

// Writes the `count` oldest events of the queue, which stay there: the caller finishes them after the commit.
// Sends one NOTIFY for each if `notifies`. If none of them can have been written before they `are_new`: that
// is quicker, and an error if it is wrong. Else writing an event again changes nothing.
void write_events(std::uint64_t count, bool are_new, bool notifies);

// Completes rows of this server that are still open as 'server stopped' at `ended_at`, but at least at their
// detection. Only when no episode of the running server can be among them, or at its stop.
void complete_open_rows(WallTime ended_at);

// Largest leak_id of this server in the history; 0 if there is none.
std::int64_t largest_leak_id();

// Deletes up to `limit` rows of ended episodes that ended longer than `retention` us ago, or failing that
// up to min(`limit`, `surplus`) of the oldest ones. Returns the number of rows deleted.
std::uint64_t prune_history(Micros retention, std::uint64_t surplus, int limit);

// Number of rows, by counting them.
std::uint64_t count_history();

}  // namespace pgleak

#endif
